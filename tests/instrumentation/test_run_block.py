from __future__ import annotations

import asyncio
import re
import threading
from datetime import datetime

import pytest
from tests.livespan_home import Died, LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.instrumentation import journal
from livespan.proto.clock import wall_ns
from livespan.proto.errors import Closed, Divergence, ErrorKind, InDoubt, InvalidInput, RunFinished, RunHeld, RunStopped

ran: list[object] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@ls.tool
def charge(cents: int) -> dict[str, int]:
    ran.append(cents)
    if cents < 0:
        raise Died
    return {"paid": cents}


@ls.step
def think(question: str) -> str:
    ran.append(question)
    return question.upper()


def test_a_second_life_is_answered_from_the_record(
    shared: LiveHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_s = wall_ns() / 1e9
    with shared.run("twice") as run:
        assert (run.attempt, run.finished, think("a"), charge(7)) == (1, False, "A", {"paid": 7})
        assert (run.reused, run.executed) == (0, 2)
    ended_s = wall_ns() / 1e9
    assert ran == ["a", 7]
    with shared.run("twice") as run:
        assert (run.attempt, run.finished, think("a"), charge(7)) == (2, True, "A", {"paid": 7})
        assert (run.reused, run.executed) == (2, 0)
    assert ran == ["a", 7]
    said = re.search(r"run twice was finished before: 2 of 2 steps reused, finished (\S+)\n", capsys.readouterr().err)
    assert said is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said[1])
    finished_s = datetime.fromisoformat(said[1]).timestamp()
    assert begun_s - 1 < finished_s <= ended_s, "it is when the first life ended, in UTC"
    # Another end would be told otherwise.
    monkeypatch.setattr(journal, "wall_ns", lambda: wall_ns() + 3600 * 10**9)
    for _ in range(2):
        with shared.run("twice"):
            assert (think("a"), charge(7)) == ("A", {"paid": 7})
        assert f"finished {said[1]}\n" in capsys.readouterr().err, "a life that only asked changes nothing"


def test_a_finished_run_can_be_refused(shared: LiveHome) -> None:
    with shared.run("refused"):
        think("a")
    with pytest.raises(RunFinished) as stopped, shared.run("refused", if_finished="raise"):
        think("b")
    assert 'if_finished="return"' in stopped.value.hint
    assert ran == ["a"]


def test_a_finished_run_starts_no_effect_that_its_record_lacks(shared: LiveHome) -> None:
    with shared.run("beyond"):
        charge(7)
    for _ in range(2):
        with pytest.raises(RunStopped) as stopped, shared.run("beyond"):
            assert charge(7) == {"paid": 7}
            charge(8)
        assert isinstance(stopped.value.cause, Divergence)
        assert "no TOOL charge with this input" in str(stopped.value)
    with shared.run("beyond") as run:
        assert (run.finished, charge(7)) == (True, {"paid": 7})
    assert ran == [7]


def test_a_finished_run_can_be_opened_anew(shared: LiveHome) -> None:
    for life in range(3):
        with shared.run("anew", if_finished="new") as run:
            think("a")
            assert run.attempt == 1, life
    assert ran == ["a"] * 3


def test_a_run_that_failed_goes_on_where_it_failed(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no stock"), shared.run("failed") as run:
        think("a")
        raise ValueError("no stock")
    with shared.run("failed") as run:
        assert not run.finished
        think("a")
        charge(7)
        assert (run.reused, run.executed) == (1, 1)
    assert ran == ["a", 7]
    assert "run failed finished in attempt 2: 1 of 2 steps reused" in capsys.readouterr().err


def test_a_run_is_held_by_the_process_that_has_it_open(shared: LiveHome) -> None:
    with shared.run("held"):
        with pytest.raises(RunHeld) as held, shared.run("held"):
            think("never")
        assert "epoch 1" in held.value.message
        assert think("a") == "A"
    with shared.run("held") as run:
        assert (run.attempt, think("a")) == (2, "A")


HOLDER = """
import sys
import livespan.instrumentation as ls
with ls.run("other"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_run_of_another_process_is_refused_while_that_lives_and_taken_at_its_death(shared: LiveHome) -> None:
    other = shared.start("-c", HOLDER)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(RunHeld, match=f"pid {other.pid}"), shared.run("other"):
        think("never")
    other.kill()
    other.wait()
    with shared.run("other") as run:
        assert (run.attempt, run.finished) == (2, False)


def test_an_effect_in_doubt_leaves_as_a_run_stopped_that_says_what_to_do(shared: LiveHome) -> None:
    with pytest.raises(RunStopped), shared.run("doubt"):
        charge(-1)
    with pytest.raises(RunStopped) as stopped, shared.run("doubt"):
        charge(-1)
    assert isinstance(stopped.value.cause, InDoubt)
    assert stopped.value.kind is ErrorKind.CONFLICT
    assert "livespan resolve doubt " in stopped.value.hint
    assert isinstance(stopped.value, Exception)
    assert ran == [-1]


def test_a_changed_program_is_refused_with_the_first_difference(shared: LiveHome) -> None:
    with pytest.raises(ValueError, match="x"), shared.run("changed"):
        think("a")
        think("b")
        raise ValueError("x")
    with pytest.raises(RunStopped) as stopped, shared.run("changed"):
        think("a")
        think("c")
    assert isinstance(stopped.value.cause, Divergence)
    assert 'first difference: input.question was "b", is "c"' in stopped.value.message
    assert ran == ["a", "b"]


def test_a_program_that_asks_for_less_than_was_recorded_is_refused_at_its_end(shared: LiveHome) -> None:
    with pytest.raises(ValueError, match="x"), shared.run("less"):
        think("a")
        raise ValueError("x")
    with pytest.raises(RunStopped, match="nothing asked for"), shared.run("less"):
        pass


def test_a_swallowed_stop_comes_again_at_the_next_call_and_at_the_end(shared: LiveHome) -> None:
    with pytest.raises(RunStopped), shared.run("sticky"):
        charge(-2)
    ran.clear()
    again = 0
    with pytest.raises(RunStopped), shared.run("sticky"):
        for cents in (-2, 5):
            try:
                charge(cents)
            except BaseException as error:  # a framework that swallows everything
                assert isinstance(error, InDoubt)
                again += 1
    assert (again, ran) == (2, [])


def test_a_state_comes_back_and_what_came_before_it_need_not_be_asked_for(shared: LiveHome) -> None:
    with pytest.raises(ValueError, match="x"), shared.run("state") as run:
        assert (run.state, run.state_node_id, run.restore()) == (None, None, None)
        think("a")
        ls.checkpoint(b"one")
        think("b")
        ls.checkpoint(b"two")
        think("c")
        raise ValueError("x")
    with shared.run("state") as run:
        assert run.state == b"two"
        assert run.state_node_id is not None
        assert len(run.state_node_id) == 16
        assert run.restore() == b"two"
        think("c")
        charge(7)
        assert (run.reused, run.executed) == (1, 1)
    assert ran == ["a", "b", "c", 7]


def test_a_state_that_is_not_restored_changes_nothing(shared: LiveHome) -> None:
    for _ in range(2):
        with shared.run("from the top"):
            think("a")
            ls.checkpoint(b"one")
            think("b")
    assert ran == ["a", "b"]


def test_a_state_is_bytes(shared: LiveHome) -> None:
    with shared.run("bytes"), pytest.raises(InvalidInput, match="bytes, not str"):
        ls.checkpoint("text")  # type: ignore[arg-type]  # what is tested


def test_a_run_is_opened_by_async_with(shared: LiveHome) -> None:
    @ls.tool
    async def send(to: str) -> str:
        ran.append(to)
        return f"sent to {to}"

    async def life() -> tuple[list[str], int]:
        async with shared.run("async") as run:
            return [await send("ann"), *await asyncio.gather(send("bob"), send("eve"))], run.reused

    answers = ["sent to ann", "sent to bob", "sent to eve"]
    assert asyncio.run(life()) == (answers, 0)
    assert asyncio.run(life()) == (answers, 3)
    assert sorted(map(str, ran)) == ["ann", "bob", "eve"]


def test_session_and_tags_stand_in_every_record(shared: LiveHome) -> None:
    with shared.run("tagged", session="chat-9", tags={"tier": "gold"}):
        think("a")
    history = shared.inside.history("tagged")
    assert history is not None
    assert {record.session for record in history.attempts} == {"chat-9"}
    assert {(record.session, record.tags["tier"]) for record in shared.records("tagged")} == {("chat-9", "gold")}


@pytest.mark.parametrize("bad", ["", "two\nlines", "\x00", "x" * 513])
def test_a_run_id_that_cannot_be_shown_or_kept_is_refused(shared: LiveHome, bad: str) -> None:
    with pytest.raises(InvalidInput, match="a run id is"):
        shared.run(bad)


def test_a_misspelt_choice_is_refused_before_anything_is_opened(shared: LiveHome) -> None:
    with pytest.raises(InvalidInput, match="'retrun'"):
        shared.run("choice", if_finished="retrun")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidInput, match="'wait'"):
        shared.run("choice", on_unreachable="wait")  # type: ignore[arg-type]  # what is tested


def test_an_endpoint_is_given_as_in_the_environment(shared: LiveHome) -> None:
    with shared.run("by endpoint", endpoint=shared.inside.collector.target) as run:
        assert run.attempt == 1


def test_a_run_object_opens_one_run_once(shared: LiveHome) -> None:
    once = shared.run("once")
    with pytest.raises(Closed, match="not open"):
        _ = once.attempt
    with once:
        think("a")
    with pytest.raises(InvalidInput, match="once"), once:
        think("b")


def test_a_thread_that_outlives_its_run_is_told_so(shared: LiveHome) -> None:
    go_on = threading.Event()
    said: list[BaseException] = []

    def late() -> None:
        go_on.wait(10)
        try:
            think("late")
        except Closed as error:
            said.append(error)

    with shared.run("outlived"):
        thread = threading.Thread(target=late)
        thread.start()
    go_on.set()
    thread.join()
    assert "has ended" in str(said[0])
    assert ran == []


def test_an_exception_of_the_program_leaves_the_block_as_it_is(shared: LiveHome) -> None:
    class Mine(Exception):
        pass

    with pytest.raises(Mine), shared.run("as it is"):
        raise Mine


IMPLICIT = """
import asyncio, threading
import livespan.instrumentation as ls
@ls.step
def think(question):
    print("thinks", flush=True)
    return question
WHERE
"""
CALLERS = {
    "the main thread": "think('a')",
    "a thread": "t = threading.Thread(target=think, args=('a',)); t.start(); t.join()",
    "a task": "async def main(): think('a')\nasyncio.run(main())",
}


@pytest.mark.parametrize("where", list(CALLERS))
def test_without_a_run_the_process_opens_its_own_and_ends_it(shared: LiveHome, where: str) -> None:
    source = IMPLICIT.replace("WHERE", CALLERS[where])
    run_id = f"implicit {where}"
    lives = [shared.program(source, {"LIVESPAN_RUN_ID": run_id}) for _ in range(2)]
    assert [life.returncode for life in lives] == [0, 0], lives
    assert [life.stdout for life in lives] == ["thinks\n", ""], lives
    assert "was finished before: 1 of 1 steps reused" in lives[1].stderr


def test_an_automatic_run_says_once_that_it_cannot_be_resumed(shared: LiveHome) -> None:
    life = shared.program(IMPLICIT.replace("WHERE", "think('a'); think('b')"))
    assert life.stdout == "thinks\nthinks\n"
    assert life.stderr.count("cannot be resumed") == 1
    assert "recording as auto-" in life.stderr


def test_a_run_is_opened_though_the_collector_was_killed_since_the_last_one(live: LiveHome) -> None:
    with live.run("first"):
        think("a")
    live.kill("collector")
    with live.run("second"):
        think("b")
    live.kill("collector")
    with live.run("first") as run:
        assert (think("a"), run.reused) == ("A", 1)


def test_a_collector_killed_in_the_middle_of_a_run_is_followed_by_one_that_keeps_the_epoch(live: LiveHome) -> None:
    with live.run("middle") as run:
        charge(1)
        live.kill("collector")
        charge(2)
        live.kill("collector")
        charge(3)
        assert run.attempt == 1
    with live.run("middle") as run:
        assert [charge(cents) for cents in (1, 2, 3)] == [{"paid": cents} for cents in (1, 2, 3)]
        assert (run.attempt, run.finished, run.reused) == (2, True, 3)
    assert ran == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": 5}, "id is 5"),
        ({"id": "r", "session": 5}, "session is 5"),
        ({"id": "r", "tags": {"a": 5}}, "tag 'a' is 5"),
        ({"id": "r", "tags": {5: "a"}}, "tag 5 is 5"),
        ({"id": "r", "tags": ["a"]}, "tags is"),
        ({"id": "a\nb"}, "control characters"),
        ({"id": "@last"}, "does not begin with @"),
        ({"id": "r", "mask": "secrets:hide"}, "and no function"),
    ],
)
def test_a_run_of_anything_but_words_is_refused_before_it_is_opened(given: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ls.run(**given)  # type: ignore[arg-type]  # what is tested


def test_words_that_the_collector_would_refuse_with_every_record_are_refused_before_anything_is_opened(
    live: LiveHome,
) -> None:
    with pytest.raises(InvalidInput, match="bytes together"):
        live.run("wordy", tags={"t": "x" * 9000})
    live.serve()
    with live.run("wordy", tags={f"{number}": "x" for number in range(1500)}):
        ls.checkpoint(b"{}")
    wait_until(lambda: (history := live.inside.history("wordy")) and history.checkpoints)
