from __future__ import annotations

import asyncio
import threading
import time

import pytest
import tenacity
from tests.instrumentation.fake_session import Tape

import livespan.instrumentation as ls
from livespan.instrumentation.branches import current
from livespan.proto import attributes as names
from livespan.proto.errors import InDoubt, InvalidInput
from livespan.proto.node import NodeType

ended: list[object] = []


@pytest.fixture(autouse=True)
def nothing_ended() -> None:
    ended.clear()


@pytest.fixture
def tape() -> Tape:
    return Tape()


def fail_line(tape: Tape, name: str) -> dict[str, object]:
    [line] = [line for line in tape.lines if line.name == name and line.kind == "ended"]
    assert line.failed
    return line.attributes


async def test_a_coroutine_that_takes_too_long_is_cancelled(tape: Tape) -> None:
    @ls.step(timeout_s=0.02)
    async def ask(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "done"

    for life in range(2):
        with tape.life() as session:
            assert await ask(0.0) == "done"
            with pytest.raises(TimeoutError, match=r"ask did not end within 0\.02 s"):
                await ask(60.0)
            assert session.executed == (0 if life else 2)
    assert ended == ["cancelled"], "and its TimeoutError is given back as any caught error is"


async def test_who_cancels_from_outside_is_not_told_of_a_timeout(tape: Tape) -> None:
    @ls.step(timeout_s=60)
    async def ask() -> None:
        await asyncio.sleep(60)

    with tape.life():
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    [line] = [line for line in tape.lines if line.name == "ask" and line.kind == "ended"]
    assert line.attributes[names.CANCELLED] is True


@pytest.mark.parametrize("own", [TimeoutError("the server's"), OSError("down")])
def test_what_a_body_raises_by_itself_is_what_is_raised(tape: Tape, own: Exception) -> None:
    @ls.step(timeout_s=60)
    def ask() -> None:
        raise own

    with tape.life(), pytest.raises(type(own), match=str(own)):
        ask()


def test_a_function_that_takes_too_long_is_left_behind(tape: Tape) -> None:
    release = threading.Event()

    @ls.step(timeout_s=0.02)
    def ask(wait: bool) -> str:
        if wait:
            release.wait(10)
            ended.append("left behind, it ends all the same")
        return "done"

    with tape.life():
        assert ask(False) == "done"
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match="ask did not end within"):
            ask(True)
        assert time.monotonic() - begun < 5
        assert ended == []
    before = len(tape.lines)
    release.set()
    while not ended:
        time.sleep(0.001)
    assert len(tape.lines) == before, "and what it ends with is nobody's"


def test_a_bounded_function_runs_in_its_callers_context_and_is_no_branch(tape: Tape) -> None:
    @ls.step
    def inner(question: str) -> str:
        return question

    @ls.step(timeout_s=30)
    def outer() -> tuple[bool, str, str]:
        scope = current()
        assert scope is not None
        return bool(ls.idempotency_key()), scope.path.rpartition("/")[0], inner("a")

    with tape.life() as session:
        assert outer() == (True, "", "a")
        assert session.executed == 2
    assert not [scope for scope in tape.scopes(NodeType.PROMPT) if "~" in scope]
    with tape.life() as session:
        assert outer() == (True, "", "a")
        assert (session.executed, session.reused) == (0, 1)


async def test_an_effect_that_takes_too_long_is_in_doubt(tape: Tape) -> None:
    @ls.tool(timeout_s=0.02)
    async def charge() -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError), tape.life():
        await charge()
    assert names.NOT_DONE not in fail_line(tape, "charge")
    with pytest.raises(InDoubt), tape.life():
        await charge()


async def test_an_effect_that_a_timeout_does_not_let_happen_may_say_so_and_be_tried_again(tape: Tape) -> None:
    policy = tenacity.Retrying(stop=tenacity.stop_after_attempt(2))

    @ls.tool(timeout_s=0.02, not_done_on=(TimeoutError,), retry=policy)
    async def reserve() -> str:
        ended.append(ls.idempotency_key())
        await asyncio.sleep(60 if len(ended) == 1 else 0)
        return "reserved"

    with tape.life():
        assert await reserve() == "reserved"
    assert (len(ended), len(set(ended))) == (2, 1)


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan")])
def test_what_is_no_time_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidInput, match="is no time"):
        ls.tool(timeout_s=timeout_s)(lambda: None)
