from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tests.collector.stand import STATE, Writer, node, request

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged
from livespan.proto.otlp import Request
from livespan.proto.record import Record
from livespan.proto.span import WireSpan
from livespan.proto.v1.livespan_pb2 import OpenReply
from livespan.recovery.opening import open_replies


@dataclass
class Told:
    """A run of the given spans; `broken` names checkpoints whose state cannot be read."""

    spans: list[WireSpan]
    broken: set[str] = field(default_factory=set[str])

    def replies(self) -> list[OpenReply]:
        run = RunHistory("shop", "order-17", 0)
        for record in Request(request(*self.spans)).records(1):
            run.add(record)
        return list(open_replies(run, self._content))

    def _content(self, record: Record, what: str) -> bytes:
        assert what == "state"
        if record.text(names.CHECKPOINT_ID) in self.broken:
            raise Damaged("its bytes are not those that were recorded")
        return STATE


def test_a_call_is_told_with_its_newest_record_and_its_start() -> None:
    writer = Writer()
    calls = Told([writer.started(node(1)), writer.ended(node(1), b'"one"'), writer.started(node(2))]).replies()[0].calls
    assert list(calls.node_id) == [node(1), node(2)]
    assert (list(calls.status), list(calls.output)) == (["SUCCESS", "RUNNING"], [b'"one"', b""])
    assert (list(calls.started_order), list(calls.order)) == ([1, 3], [2, 3])
    assert (list(calls.effect), list(calls.conflict)) == ([True, True], [False, False])


def test_an_error_is_told_as_it_was() -> None:
    writer = Writer()
    calls = Told([writer.started(node(1)), writer.ended(node(1), failed=True)]).replies()[0].calls
    assert list(calls.status) == ["FAILED"]
    assert b'"message"' in calls.error[0]


def test_a_large_answer_is_only_named() -> None:
    writer = Writer()
    calls = Told([writer.started(node(1)), writer.ended(node(1), b'"' + b"x" * 40_000 + b'"')]).replies()[0].calls
    assert (list(calls.large), list(calls.output)) == ([True], [b""])


@pytest.mark.parametrize(
    ("how", "failed", "conflict"),
    [("done", False, False), ("not_done", False, True), ("not_done", True, False)],
)
def test_a_late_end_that_says_otherwise_than_the_settlement_is_a_conflict(
    how: str, failed: bool, conflict: bool
) -> None:
    writer = Writer()
    settled = writer.settled(node(1), how, b'"looked up"' if how == "done" else b"")
    calls = Told([writer.started(node(1)), settled, writer.ended(node(1), failed=failed)]).replies()[0].calls
    assert (list(calls.settled), list(calls.conflict)) == ([how], [conflict])
    assert list(calls.status) == ["SUCCESS" if how == "done" else "FAILED"]


def test_the_newest_checkpoint_is_told() -> None:
    writer = Writer()
    found = [one for reply in Told([writer.checkpoint(1), writer.checkpoint(2)]).replies() for one in reply.checkpoints]
    assert [(one.checkpoint_id, one.state, one.scope, one.order) for one in found] == [("c2", STATE, "/", 2)]


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so() -> None:
    writer = Writer()
    replies = Told([writer.checkpoint(1), writer.checkpoint(2), writer.checkpoint(3)], {"c2", "c3"}).replies()
    assert [one.checkpoint_id for reply in replies for one in reply.checkpoints] == ["c1"]
    damaged = list(replies[-1].damaged)
    assert [text.split(" of scope")[0] for text in damaged] == ["checkpoint c3", "checkpoint c2"]
    assert "not those that were recorded" in damaged[0]


def test_where_every_checkpoint_is_damaged_none_is_told() -> None:
    replies = Told([Writer().checkpoint(1)], {"c1"}).replies()
    assert not [one for reply in replies for one in reply.checkpoints]
    assert len(replies[-1].damaged) == 1


def test_a_run_of_many_calls_comes_in_batches_in_log_order() -> None:
    writer = Writer()
    replies = Told([writer.started(node(number)) for number in range(1, 4502)]).replies()
    assert [len(reply.calls.node_id) for reply in replies] == [2000, 2000, 501, 0]
    assert [order for reply in replies for order in reply.calls.order] == list(range(1, 4502))
