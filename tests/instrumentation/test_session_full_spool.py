from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.instrumentation import said_once
from livespan.instrumentation.drain_process import drain_is_running, ensure_drain
from livespan.proto.errors import EffectUnavailable, RunStopped, SpoolFull

ran: list[object] = []


@pytest.fixture(autouse=True)
def small_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.setenv("LIVESPAN_SPOOL_MAX_BYTES", str(4 << 20))
    monkeypatch.setenv("LIVESPAN_BUDGET_MS", "5")


@contextmanager
def frozen_drain(live: LiveHome) -> Generator[None]:
    """Let the home's drain stand still, so that the spool fills."""
    ensure_drain(live.home)
    wait_until(lambda: drain_is_running(live.home) and len(live.pids("drain")) == 1)
    [pid] = live.pids("drain")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@ls.step
def think(question: str) -> str:
    ran.append(question)
    return question.upper()


@ls.tool
def charge(cents: int) -> int:
    ran.append(cents)
    return cents


def fill() -> int:
    """Take checkpoints until there is no more room; return how many were kept."""
    kept = 0
    for size in (200_000, 20_000, 2_000, 200, 1):
        with pytest.raises(SpoolFull):
            for _ in range(200):
                ls.checkpoint(bytes(size))
                kept += 1
    return kept


def test_a_full_spool_refuses_a_checkpoint_by_name(live: LiveHome) -> None:
    live.serve()
    with live.run("full") as run, frozen_drain(live):
        assert fill() > 3
        with pytest.raises(SpoolFull) as full:
            ls.checkpoint(b"one more")
        assert "LIVESPAN_SPOOL_MAX_BYTES" in full.value.hint
        assert run.executed == 0


def test_a_step_runs_unrecorded_its_scope_is_marked_and_a_resume_asks_again(live: LiveHome) -> None:
    live.serve()
    with pytest.raises(KeyError), live.run("full") as run:
        think("recorded")
        with frozen_drain(live):
            fill()
            assert think("unrecorded") == "UNRECORDED"
            assert think("unrecorded too") == "UNRECORDED TOO"
            assert run._opened().session.journal.unrecorded == {"/": 2}  # pyright: ignore[reportPrivateUsage]  # a test looks inside
        wait_until(lambda: recorded_again("later"))
        raise KeyError
    history = live.inside.history("full")
    assert history is not None
    assert history.gaps == ["/"]
    laters = len([word for word in ran if word == "later"])
    ran.clear()
    with live.run("full") as run:
        assert [think("recorded"), think("unrecorded"), think("unrecorded too")] == [
            "RECORDED",
            "UNRECORDED",
            "UNRECORDED TOO",
        ]
        for _ in range(laters):
            think("later")
        assert ran[:2] == ["unrecorded", "unrecorded too"]
        assert run.reused >= 2


def test_steps_that_find_no_room_are_told_of_once(live: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
    live.serve()
    with live.run("told") as run:
        with frozen_drain(live):
            fill()
            assert "not recorded" not in capsys.readouterr().err, "what is raised needs no line"
            for word in ("one", "two", "three"):
                think(word)
        assert run._opened().session.journal.unrecorded == {"/": 3}  # pyright: ignore[reportPrivateUsage]
        wait_until(lambda: recorded_again("later"))
    [line] = [line for line in capsys.readouterr().err.splitlines() if "not recorded" in line]
    assert line.startswith("livespan: steps are not recorded, and are asked again if the run is resumed: ")
    assert str(live.home.spool) in line
    assert f"process_cap: {4 << 20} bytes" in line
    assert "`livespan doctor`" in line
    assert "LIVESPAN_SPOOL_MAX_BYTES" in line


def recorded_again(word: str) -> bool:
    """Make a step, and return whether it was recorded: the spool has room again."""
    think(word)
    from livespan.instrumentation.branches import current
    from livespan.instrumentation.session import SESSIONS

    here = current()
    assert here is not None
    return not SESSIONS[here.trace].journal._gaps  # pyright: ignore[reportPrivateUsage]  # as above


def test_an_effect_does_not_start_where_its_end_would_have_no_room(live: LiveHome) -> None:
    live.serve()
    with pytest.raises(RunStopped) as stopped, live.run("full"), frozen_drain(live):
        fill()
        charge(7)
    assert isinstance(stopped.value.cause, EffectUnavailable)
    assert ran == []
    with live.run("full"):
        assert charge(7) == 7
    assert ran == [7]


def test_a_call_that_began_always_has_room_to_end(live: LiveHome) -> None:
    @ls.tool
    def charge_and_fill(cents: int) -> int:
        ran.append(cents)
        fill()
        return cents

    live.serve()
    with live.run("full"), frozen_drain(live):
        assert charge_and_fill(7) == 7
    with live.run("full") as run:
        assert (charge_and_fill(7), run.reused) == (7, 1)
    assert ran == [7]
