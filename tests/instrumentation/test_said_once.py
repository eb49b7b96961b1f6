from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pytest
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation import said_once
from livespan.proto.errors import SpoolFull, Unavailable


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if " is recorded as one call around it" in line]


@ls.step
def think(question: str) -> str:
    return question.upper()


# Tools and steps that are scopes and were not declared so.


def test_a_plain_tool_that_reaches_another_call_is_told_of_once(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    @ls.tool
    def order(what: str) -> str:
        return think(what) + think("and " + what)

    @ls.tool(effect=False)
    def search(what: str) -> str:
        return think(what)

    with shared.run("composite tools"):
        for what in ("a", "b"):
            order(what)
            search(what)
    wanted = (
        "livespan: TOOL {} calls think and is recorded as one call around it: after a crash inside it all of {}. "
        "Declare it @ls.tool(scope=True), and it is entered in every life and what it calls is answered."
    )
    assert lines(capsys) == [
        wanted.format("order", "it is in doubt"),
        wanted.format("search", "its own code runs again"),
    ]


def test_a_step_that_reaches_another_call_is_told_how_to_be_a_branch(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    @ls.step
    async def plan(what: str) -> str:
        return await asyncio.to_thread(think, what)

    with shared.run("composite step"):
        asyncio.run(plan("a"))
    [line] = lines(capsys)
    assert "PROMPT plan calls think" in line
    assert '@ls.step(type="BRANCH")' in line


def test_scopes_values_and_calls_side_by_side_are_told_nothing(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    met = threading.Barrier(2, timeout=10)

    @ls.tool(scope=True)
    def order(what: str) -> str:
        return think(what)

    @ls.step(type="BRANCH")
    def group(what: str) -> str:
        return order(what)

    @ls.tool
    def stamp() -> str:
        return f"{ls.now()} {ls.uuid4()} {ls.random()}"

    @ls.step
    def waits(what: str) -> str:
        met.wait()
        met.wait()
        return what

    def beside() -> None:
        met.wait()
        think("while another call is open")
        met.wait()

    with shared.run("no composites"):
        group("a")
        stamp()
        threads = [threading.Thread(target=waits, args=("b",)), threading.Thread(target=beside)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert lines(capsys) == []


def test_an_answered_tool_calls_nothing_and_a_resumed_program_is_told_nothing(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    @ls.tool
    def order(what: str) -> str:
        return think(what)

    def life() -> int:
        with shared.run("composite answered"):
            order("a")
        said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
        return len(lines(capsys))

    assert [life(), life()] == [1, 0]


# Saying once.


def test_each_reason_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for reason in ("process_cap", "disk_full", "process_cap"):
        said_once.say_dropped(
            "spans are dropped", SpoolFull("no room", subject="/spool", hint="Mend it.", reason=reason)
        )
    said_once.say_dropped("spans are dropped", Unavailable("no home"))
    said_once.say_dropped("spans are dropped", ValueError("two\nlines"))
    assert capsys.readouterr().err.splitlines() == [
        "livespan: spans are dropped: /spool: no room. Mend it.",
        "livespan: spans are dropped: /spool: no room. Mend it.",
        "livespan: spans are dropped: no home.",
        "livespan: spans are dropped: ValueError: two lines",
    ]


def test_names_without_end_are_not_remembered_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3000):
        said_once.say_once("composite TOOL", f"made up {number}", f"line {number}")
    assert len(capsys.readouterr().err.splitlines()) == 1000


def test_of_many_threads_one_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    start = threading.Barrier(8, timeout=10)

    def say() -> None:
        start.wait()
        for number in range(100):
            said_once.say_once("race", str(number), f"line {number}")

    threads = [threading.Thread(target=say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(f"livespan: line {number}" for number in range(100))


def test_a_forked_child_is_a_process_and_says_it_itself(capfd: pytest.CaptureFixture[str]) -> None:
    def in_child(work: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                work()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    said_once.say_once("fork", "x", "in the parent")
    in_child(lambda: said_once.say_once("fork", "x", "in the child"))
    said_once.say_once("fork", "x", "again")
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("livespan:")]
    assert said == ["livespan: in the parent", "livespan: in the child"]
