from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation.barrier import Barrier, Unacknowledged
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.permission import Permission
from livespan.instrumentation.settings import Unreachable, agent_settings
from livespan.proto.errors import (
    Damaged,
    EffectUnavailable,
    ErrorKind,
    InvalidInput,
    LeaseLost,
    LivespanError,
    RunStopped,
    Stop,
    Unavailable,
)
from livespan.proto.ids import trace_id
from livespan.proto.span import WireSpan
from livespan.proto.v1.livespan_pb2 import RunRef

STARTED = WireSpan(b"", (b"started",), 7)
BEFORE = WireSpan(b"", (b"before",), 6)


@dataclass
class Asked:
    """A collector and a barrier in one, that answer as they are told."""

    answers: list[LivespanError | Stop | None] = field(default_factory=list["LivespanError | Stop | None"])
    requests: list[bytes] = field(default_factory=list[bytes])
    fresh: list[bool] = field(default_factory=list[bool])
    noted: list[dict[str, int]] = field(default_factory=list[dict[str, int]])
    valid: bool = True

    def permission(self, on_unreachable: Unreachable = "fail", unreachable_s: float = 0.2) -> Permission:
        return Permission(
            cast("Barrier", self),
            RunRef(project="p", run_id="r"),
            trace_id("p", "r"),
            3,
            connect=self.connect,
            lease_is_valid=lambda: self.valid,
            kick=lambda: None,
            on_unreachable=on_unreachable,
            unreachable_s=unreachable_s,
        )

    def connect(self, fresh: bool) -> CollectorClient:
        self.fresh.append(fresh)
        return cast("CollectorClient", self)

    def collect(self, *_: object) -> Unacknowledged:
        return Unacknowledged([BEFORE], {"w": 4}, {})

    def acknowledged(self, sent: Unacknowledged) -> None:
        self.noted.append(sent.upto)

    def intend(self, run: RunRef, epoch: int, export: bytes, timeout_s: float) -> int:
        assert (run.run_id, epoch, timeout_s <= 1.0) == ("r", 3, True)
        self.requests.append(export)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return 1


def test_what_was_recorded_before_goes_before_the_start_and_is_noted_once_acknowledged() -> None:
    asked = Asked()
    assert asked.permission().ask(STARTED)
    [request] = asked.requests
    assert request.index(b"before") < request.index(b"started")
    assert (asked.noted, asked.fresh) == ([{"w": 4}], [False])


def test_a_collector_that_is_away_is_looked_for_anew_until_it_answers() -> None:
    asked = Asked([Unavailable("away"), Unavailable("away")])
    assert asked.permission(unreachable_s=5).ask(STARTED)
    assert asked.fresh == [False, True, True]
    assert asked.noted == [{"w": 4}]


def test_a_collector_that_stays_away_stops_the_run_within_its_time() -> None:
    asked = Asked([Unavailable("away", hint="look")] * 50)
    begun = time.monotonic()
    with pytest.raises(EffectUnavailable) as stopped:
        asked.permission().ask(STARTED)
    assert time.monotonic() - begun < 2
    assert (stopped.value.kind, stopped.value.subject, stopped.value.hint) == (ErrorKind.UNAVAILABLE, "run r", "look")
    assert asked.noted == []


def test_by_the_spool_the_effect_goes_on_while_the_lease_lives() -> None:
    asked = Asked([Unavailable("away")] * 50)
    assert not asked.permission("spool").ask(STARTED)
    assert len(asked.requests) > 1


def test_by_the_spool_nothing_starts_once_the_lease_is_over() -> None:
    asked = Asked(valid=False)
    with pytest.raises(LeaseLost):
        asked.permission("spool").ask(STARTED)
    assert asked.requests == []


def test_a_lease_that_the_collector_says_is_lost_is_not_asked_for_again() -> None:
    asked = Asked([LeaseLost("epoch 4 follows")])
    with pytest.raises(LeaseLost, match="epoch 4"):
        asked.permission().ask(STARTED)
    assert len(asked.requests) == 1


@pytest.mark.parametrize("error", [Damaged("log"), InvalidInput("bad")])
def test_any_other_refusal_stops_the_run_at_once(error: LivespanError) -> None:
    asked = Asked([error])
    with pytest.raises(EffectUnavailable, match=error.message):
        asked.permission().ask(STARTED)
    assert len(asked.requests) == 1


# With a real collector that leaves.

ran: list[int] = []


@ls.tool
def charge(cents: int) -> int:
    ran.append(cents)
    return cents


def test_without_its_collector_an_effect_goes_by_the_spool_where_the_user_said_so(live: LiveHome) -> None:
    ran.clear()
    target = live.serve().collector.target
    with live.run("spool", endpoint=target, on_unreachable="spool"):
        charge(1)
        live.inside.stop()
        assert charge(2) == 2
    live.serve()
    with live.run("spool", endpoint=target) as run:
        assert [charge(1), charge(2)] == [1, 2]
        assert (run.reused, ran) == (2, [1, 2])


def test_without_its_collector_an_effect_is_not_started_by_default(
    live: LiveHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran.clear()
    target = live.serve().collector.target
    with monkeypatch.context() as impatient:
        impatient.setattr(
            "livespan.instrumentation.run_block.agent_settings", lambda: replace(agent_settings({}), unreachable_s=0.3)
        )
        with pytest.raises(RunStopped) as stopped, live.run("fail", endpoint=target):
            charge(1)
            live.inside.stop()
            charge(2)
    assert isinstance(stopped.value.cause, EffectUnavailable)
    assert ran == [1]
    live.serve()
    with live.run("fail", endpoint=target) as run:
        assert [charge(1), charge(2)] == [1, 2]
        assert (run.reused, ran) == (1, [1, 2])
