from __future__ import annotations

import asyncio
import logging
import time

import pytest
import tenacity
from tests.instrumentation.fake_session import Killed, Line, Tape
from tests.livespan_home import Died, LiveHome

import livespan.instrumentation as ls
from livespan.proto import attributes as names
from livespan.proto.errors import EffectUnavailable, InDoubt, InvalidInput, RunStopped

QUICK = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.001))
ran: list[object] = []


class Flaky(Exception):
    pass


class Declined(Exception):
    pass


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def tape() -> Tape:
    return Tape()


def failing(times: int, error: type[Exception] = Flaky) -> str:
    """Fail that many times in all, then answer."""
    ran.append(ls.idempotency_key())
    if len(ran) <= times:
        raise error(f"number {len(ran)}")
    return "done"


@ls.step(retry=QUICK)
def think(fails: int) -> str:
    return failing(fails)


@ls.step(retry=QUICK)
async def athink(fails: int) -> str:
    await asyncio.sleep(0)
    return failing(fails)


@ls.tool(retry=QUICK)
def charge(fails: int, error: str = "Flaky") -> str:
    return failing(fails, {"Flaky": Flaky, "NotDone": ls.NotDone, "Declined": Declined}[error])


@ls.tool(retry=QUICK, not_done_on=(Declined,))
def order(fails: int) -> str:
    return failing(fails, Declined)


@ls.tool(retry=QUICK, in_doubt="retry")
def send(fails: int) -> str:
    return failing(fails)


@ls.tool(retry=QUICK, in_doubt="retry")
async def asend(fails: int) -> str:
    await asyncio.sleep(0)
    return failing(fails)


def tries(tape: Tape, name: str) -> list[tuple[int, str, bool]]:
    """Return number, kind and whether another is to follow, of each record of a call."""
    return [
        (line.attributes[names.TRY], line.kind, names.RETRY_AFTER_S in line.attributes)
        for line in tape.lines
        if line.name == name
    ]


def of_one_call(lines: list[Line]) -> bool:
    return len({line.attributes[names.CALL_KEY] for line in lines}) == 1


# One life.


def test_each_try_is_a_node_of_the_same_call(tape: Tape) -> None:
    with tape.life() as session:
        assert think(2) == "done"
        assert (session.executed, session.reused) == (3, 0)
    assert tries(tape, "think") == [
        (0, "started", False),
        (0, "ended", True),
        (1, "started", False),
        (1, "ended", True),
        (2, "started", False),
        (2, "ended", False),
    ]
    lines = [line for line in tape.lines if line.name == "think"]
    assert of_one_call(lines)
    assert len({line.node_id for line in lines}) == 3
    with tape.life() as session:
        assert think(2) == "done"
        assert (session.executed, session.reused) == (0, 1)
    assert len(ran) == 3


def test_the_last_error_is_the_outcome_and_is_given_back_as_such(tape: Tape) -> None:
    for _ in range(2):
        with tape.life(), pytest.raises(Flaky, match="number 3"):
            think(9)
    assert len(ran) == 3
    assert tries(tape, "think")[-1] == (2, "ended", False)


async def test_a_coroutine_is_tried_as_a_function_is(tape: Tape) -> None:
    with tape.life():
        assert await athink(2) == "done"
        assert await asend(0) == "done"
    assert [number for number, kind, _ in tries(tape, "athink") if kind == "ended"] == [0, 1, 2]
    ran.clear()
    with tape.life():
        assert (await athink(2), await asend(0)) == ("done", "done")
    assert ran == []


def test_an_effect_is_tried_again_only_where_it_says_that_it_was_not_done(tape: Tape) -> None:
    with tape.life():
        with pytest.raises(Flaky, match="number 1"):
            charge(2)
        assert len(ran) == 1, "who knows whether it was done"
        ran.clear()
        assert charge(2, "NotDone") == "done"
        assert len(ran) == 3
        ran.clear()
        assert order(2) == "done"
        assert (len(ran), len(set(ran))) == (3, 1), "under one idempotency key"


def test_an_effect_in_doubt_is_tried_again_where_its_policy_says_so_under_the_same_key(tape: Tape) -> None:
    with tape.life():
        assert send(2) == "done"
    assert (len(ran), len(set(ran)), bool(ran[0])) == (3, 1, True)


def test_an_effect_whose_key_is_too_old_is_not_tried_again(tape: Tape) -> None:
    @ls.tool(retry=QUICK, in_doubt=ls.Retry(within_s=0.0))
    def late(fails: int) -> str:
        time.sleep(0.001)
        return failing(fails)

    with tape.life(), pytest.raises(Flaky, match="number 1"):
        late(2)


def test_a_number_is_that_many_tries_with_growing_pauses(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr("livespan.instrumentation.tries.time.sleep", paused.append)

    @ls.step(retry=4)
    def ask(fails: int) -> str:
        return failing(fails)

    with tape.life():
        assert ask(3) == "done"
    assert len(paused) == 3
    assert all(0.5 * 2**n <= pause <= 0.5 * 2**n + 0.5 for n, pause in enumerate(paused)), paused


def test_which_errors_are_tried_again_is_the_policys_to_say(tape: Tape) -> None:
    said: list[int] = []
    policy = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(3),
        retry=tenacity.retry_if_exception_type(Flaky),
        before_sleep=lambda state: said.append(state.attempt_number),
    )

    @ls.step(retry=policy)
    def ask(error: str) -> str:
        return failing(1, {"Flaky": Flaky, "Declined": Declined}[error])

    with tape.life():
        with pytest.raises(Declined):
            ask("Declined")
        ran.clear()
        assert ask("Flaky") == "done"
    assert said == [1]


def test_the_librarys_own_hook_is_told_once_the_failed_try_is_recorded(
    tape: Tape, caplog: pytest.LogCaptureFixture
) -> None:
    recorded: list[int] = []
    log = tenacity.before_sleep_log(logging.getLogger("tries"), logging.WARNING)

    def hook(state: tenacity.RetryCallState) -> None:
        recorded.append(len(tries(tape, "ask")))
        log(state)

    @ls.step(retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(3), before_sleep=hook))
    def ask() -> str:
        return failing(1)

    with tape.life():
        ask()
    assert recorded == [2]
    assert "Flaky: number 1" in caplog.text


@pytest.mark.parametrize("setting", [0, -1, True, 2.5, "3", tenacity.AsyncRetrying()])
def test_what_is_no_policy_is_refused_where_it_is_said(setting: object) -> None:
    with pytest.raises(InvalidInput, match="is no policy"):
        ls.step(retry=setting)(failing)  # type: ignore[call-overload]  # what is tested


def test_policies_of_single_calls_are_refused_for_what_groups_them() -> None:
    with pytest.raises(InvalidInput, match="groups others"):
        ls.tool(scope=True, retry=3)(failing)
    with pytest.raises(InvalidInput, match="groups others"):
        ls.step(type="BRANCH", timeout_s=3.0)(failing)


def test_a_call_that_is_tried_again_may_make_none_of_its_own(tape: Tape) -> None:
    @ls.step(retry=QUICK)
    def composite() -> str:
        ls.now()
        return order(0)

    with tape.life(), pytest.raises(InvalidInput, match="composite around it says retry="):
        composite()
    assert ran == []
    assert len(tries(tape, "composite")) == 2, "and to be refused is no reason to try again"


def test_a_stop_is_not_tried_again(tape: Tape) -> None:
    stop = EffectUnavailable("away")

    @ls.step(retry=QUICK)
    def ask() -> None:
        ran.append(1)
        raise stop

    with pytest.raises(EffectUnavailable), tape.life():
        ask()
    assert ran == [1]


# Lives.


def test_a_life_that_ends_between_two_tries_is_gone_on_with_by_the_next_try(tape: Tape) -> None:
    with pytest.raises(Killed), tape.life(killed_after=3):
        think(9)  # root, started, ended: it dies in the pause
    assert tries(tape, "think") == [(0, "started", False), (0, "ended", True)]
    with tape.life() as session, pytest.raises(Flaky, match="number 3"):
        think(9)
    assert (session.executed, len(ran)) == (2, 3), "three tries in all, as the policy says, over both lives"
    with tape.life() as session, pytest.raises(Flaky, match="number 3"):
        think(9)
    assert (session.executed, session.reused) == (0, 1)


def test_a_try_that_a_death_cut_short_did_not_fail_and_does_not_count(tape: Tape) -> None:
    with pytest.raises(Killed), tape.life(killed_after=4):
        think(9)  # root, started, ended, started
    with tape.life(), pytest.raises(Flaky):
        think(9)
    failed = [number for number, kind, _ in tries(tape, "think") if kind == "ended"]
    assert failed == [0, 2, 3], "one was cut short, three have failed"


def test_an_error_that_ended_the_run_is_asked_again_with_all_of_its_tries(tape: Tape) -> None:
    with pytest.raises(Flaky, match="number 3"), tape.life():
        think(5)
    with tape.life() as session:
        assert think(5) == "done"
        assert session.executed == 3
    assert len(ran) == 6


def test_what_is_left_of_a_recorded_pause_is_waited_for_and_no_longer(
    tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(30.0))

    @ls.step(retry=slow)
    def ask(fails: int) -> str:
        return failing(fails)

    paused: list[float] = []
    monkeypatch.setattr("livespan.instrumentation.tries.time.sleep", paused.append)
    with pytest.raises(Killed), tape.life(killed_after=3):
        ask(1)
    [ended] = [line for line in tape.lines if line.name == "ask" and line.kind == "ended"]
    for ago_s, least, most in ((10.0, 19.9, 20.0), (99.0, 0.0, 0.0), (-999.0, 30.0, 30.0)):
        again = Tape(list(tape.lines))
        monkeypatch.setattr("livespan.instrumentation.tries.wall_ns", lambda ago=ago_s: ended.ended_ns + int(ago * 1e9))
        paused.clear()
        ran[:] = ["before"]
        with again.life():
            assert ask(1) == "done"
        assert least <= sum(paused) <= most, ago_s


def test_an_effect_that_was_to_be_tried_again_is_so_by_the_next_life(tape: Tape) -> None:
    with pytest.raises(Killed), tape.life(killed_after=3):
        order(2)
    with tape.life():
        assert order(2) == "done"
    assert (len(ran), len(set(ran))) == (3, 1)


def test_an_effect_that_a_death_cut_short_is_in_doubt_whatever_its_tries(tape: Tape) -> None:
    with pytest.raises(Killed), tape.life(killed_after=4):
        order(2)
    with pytest.raises(InDoubt), tape.life():
        order(2)
    assert len(ran) == 1


# Over a real record.


DIES_ASLEEP = """
import sys
import tenacity
import livespan.instrumentation as ls

class Declined(Exception):
    pass

def asleep(state):
    print("asleep", flush=True)

policy = tenacity.Retrying(
    stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(float(sys.argv[1])), before_sleep=asleep
)

@ls.tool(retry=policy, not_done_on=(Declined,))
def pay(cents):
    print("try", ls.idempotency_key(), flush=True)
    raise Declined("no")

with ls.run("payment"):
    pay(7)
"""


def test_a_process_killed_in_the_pause_is_gone_on_with_from_what_is_published(live: LiveHome) -> None:
    live.serve()
    first = live.start("-c", DIES_ASLEEP, "60")
    assert first.stdout is not None
    said = [first.stdout.readline().split()[0] for _ in range(2)]
    assert said == ["try", "asleep"]
    first.kill()
    first.wait()
    with pytest.raises(RunStopped), live.run("payment"):
        raise Died  # it is adopted, and its record acknowledged
    live.kill("drain")  # else it starts a collector of its own as soon as this one is gone
    live.inside.stop()
    live.serve()
    history = live.inside.history("payment")
    assert history is not None
    ended = [call[0] for call in history.calls.values() if call[0].name == "pay"]
    assert [record.attributes.get(names.RETRY_AFTER_S) for record in ended] == [60.0], "as it comes back from the lake"
    # The pause of a minute is what is left of the first life's; a clock that shows later has waited it.
    program = DIES_ASLEEP.replace(
        "class Declined", "from livespan.instrumentation import tries\ntries.wall_ns = lambda: 2**62\n\nclass Declined"
    )
    second = live.start("-c", program, "0.001")
    out, err = second.communicate(timeout=60)
    assert [line.split()[0] for line in out.splitlines()] == ["try", "asleep", "try"], err
    assert len({line.split()[1] for line in out.splitlines() if line.startswith("try")}) == 1
    records = {record.node_id: record for record in live.records("payment") if record.name == "pay"}
    assert sorted(record.number(names.TRY) or 0 for record in records.values()) == [0, 1, 2]
