"""Each rule of begin and end by its name, on records made by hand."""

from __future__ import annotations

import threading

import pytest
from tests.instrumentation.core_tape import Tape, begin_live, effect, prompt

from livespan.instrumentation.core import (
    NOT_DONE,
    Answer,
    Call,
    Doubt,
    EffectInDoubt,
    Live,
    Outcome,
    Probe,
    ProgramChanged,
    Retry,
    Settlement,
)
from livespan.proto.errors import Divergence, InDoubt, LeaseLost
from livespan.proto.node import NodeType


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_what_ended_is_answered_and_the_frontier_is_live(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt(), "first")
    core = tape.core()
    assert tape.run(core, core.root, prompt(), "never asked") == "first"
    assert begin_live(core, prompt("next")).try_number == 0


def test_a_read_that_was_started_only_is_asked_again_as_the_next_try(tape: Tape) -> None:
    first = tape.started(begin_live(tape.core(), prompt()))
    second = tape.started(begin_live(tape.core(), prompt()))
    assert (second.key, second.try_number) == (first.key, 1)
    assert second.node_id != first.node_id
    assert begin_live(tape.core(), prompt()).try_number == 2


def test_a_try_that_succeeded_speaks_for_its_call_even_if_its_end_came_late(tape: Tape) -> None:
    core = tape.core()
    first = tape.started(begin_live(core, prompt()))
    tape.started(begin_live(tape.core(), prompt()))
    tape.done(core, first, "late")
    core = tape.core()
    assert tape.run(core, core.root, prompt()) == "late"
    assert core.history.next_try(first.key) == 2


def test_an_effect_that_was_started_only_is_in_doubt(tape: Tape) -> None:
    live = tape.started(begin_live(tape.core(), effect()))
    core = tape.core()
    with pytest.raises(InDoubt) as stop:
        core.begin(core.root, effect(), 0)
    assert isinstance(stop.value, EffectInDoubt)
    assert stop.value.recorded.node_id == live.node_id
    assert f"livespan resolve run {live.node_id.hex()}" in stop.value.hint


def test_retry_asks_again_under_the_same_key_while_the_provider_knows_it(tape: Tape) -> None:
    call = effect(in_doubt=Retry(within_s=10))
    first = tape.started(begin_live(tape.core(), call, now_ns=0), at_ns=10**9)
    again = begin_live(tape.core(), call, now_ns=10 * 10**9)
    assert again.idempotency_key == first.idempotency_key
    tape.started(again, at_ns=10 * 10**9)
    # The first try counts, not the last: it is the first that the provider dates its key by.
    with pytest.raises(InDoubt, match="its idempotency key is 11 s old"):
        tape.core().begin(tape.core().root, call, 12 * 10**9)


def test_retry_trusts_no_clock_that_jumped_far_back(tape: Tape) -> None:
    call = effect(in_doubt=Retry(within_s=10))
    tape.started(begin_live(tape.core(), call), at_ns=100 * 10**9)
    with pytest.raises(InDoubt):
        begin_live(tape.core(), call, now_ns=0)


@pytest.mark.parametrize("found", [{"charge": 1}, NOT_DONE])
def test_a_probe_that_looked_gives_the_answer_or_lets_the_effect_begin(tape: Tape, found: object) -> None:
    def look(_key: str) -> object:
        return found

    call = effect(in_doubt=Probe(look))
    first = tape.started(begin_live(tape.core(), call))
    core = tape.core()
    doubt = core.begin(core.root, call, 0)
    assert isinstance(doubt, Doubt)
    assert doubt.idempotency_key == first.idempotency_key
    settled = core.settle(doubt, doubt.probe.look(doubt.idempotency_key))
    if found is NOT_DONE:
        assert isinstance(settled, Live)
        assert settled.try_number == 1
    else:
        assert isinstance(settled, Answer)
        assert settled.recorded.output == found
        core.finish()


def test_what_was_settled_as_done_is_answered_and_as_not_done_is_live(tape: Tape) -> None:
    live = tape.started(begin_live(tape.core(), effect()))
    tape.change(live, settled=Settlement.DONE, output="receipt")
    core = tape.core()
    assert tape.run(core, core.root, effect()) == "receipt"
    tape.change(live, settled=Settlement.NOT_DONE)
    assert begin_live(tape.core(), effect()).try_number == 1


def test_a_settlement_that_a_late_end_contradicts_stops_whatever_the_policy(tape: Tape) -> None:
    call = effect(in_doubt=Retry())
    live = tape.started(begin_live(tape.core(), call))
    tape.change(live, settled=Settlement.NOT_DONE, outcome=Outcome.SUCCEEDED, conflict=True)
    with pytest.raises(InDoubt, match="settled as one that was not done"):
        begin_live(tape.core(), call)


def test_a_tool_that_is_now_declared_a_read_is_asked_again_and_the_reverse_is_in_doubt(
    tape: Tape,
) -> None:
    tape.started(begin_live(tape.core(), effect()))
    read = Call(NodeType.TOOL, "charge", "d")
    tape.started(begin_live(tape.core(), read))
    with pytest.raises(InDoubt):
        begin_live(tape.core(), effect())


def test_another_input_stops_and_shows_the_record_most_like_the_call(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt("plan", "p"))
    tape.run(core, core.root, prompt("think", "a"))
    core = tape.core()
    with pytest.raises(Divergence, match="another input than record 3 holds") as stop:
        core.begin(core.root, prompt("think", "b"), 0)
    assert isinstance(stop.value, ProgramChanged)
    assert stop.value.recorded.digest == "a"
    core = tape.core()
    with pytest.raises(Divergence, match="where record 1 holds PROMPT plan"):
        core.begin(core.root, effect(), 0)


def test_a_stop_raises_again_at_every_begin_enter_leave_and_end(tape: Tape) -> None:
    core = tape.core()
    scope = core.enter(core.root, "s")
    stop = core.stop(LeaseLost("gone"))
    assert core.stop(LeaseLost("later")) is stop is core.stopped
    for attempt in (
        lambda: core.begin(core.root, prompt(), 0),
        lambda: core.enter(core.root, "t"),
        lambda: core.leave(scope, None),
        lambda: core.leave(scope, ValueError("swallowed")),
        lambda: core.finish(None),
        lambda: core.finish(BaseExceptionGroup("group", [stop])),
    ):
        with pytest.raises(LeaseLost) as raised:
            attempt()
        assert raised.value is stop
    core.leave(scope, stop)
    core.finish(stop)


def test_a_stop_of_the_callers_own_that_ends_a_scope_becomes_the_runs(tape: Tape) -> None:
    core = tape.core()
    stop = LeaseLost("gone")
    core.leave(core.enter(core.root, "s"), stop)
    assert core.stopped is stop


def test_an_effect_in_doubt_that_nobody_asks_for_is_said_before_what_is_merely_missing(
    tape: Tape,
) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt())
    tape.started(begin_live(core, effect()))
    with pytest.raises(InDoubt):
        tape.core().finish()


def test_equal_calls_are_told_apart_by_their_occurrence(tape: Tape) -> None:
    core = tape.core()
    assert [tape.run(core, core.root, prompt(), n) for n in range(3)] == [0, 1, 2]
    core = tape.core()
    assert [tape.run(core, core.root, prompt(), "?") for _ in range(3)] == [0, 1, 2]


def test_equal_calls_of_parallel_branches_keep_their_own_results(tape: Tape) -> None:
    core = tape.core()
    branches = [core.root.branch("worker") for _ in range(3)]
    for n, branch in reversed(list(enumerate(branches))):
        tape.run(core, branch, effect(), n)
    core = tape.core()
    assert [tape.run(core, core.root.branch("worker"), effect()) for _ in range(3)] == [0, 1, 2]


def test_two_threads_never_get_the_same_occurrence(tape: Tape) -> None:
    core = tape.core()
    keys: list[str] = []

    def many() -> None:
        keys.extend(begin_live(core, prompt()).key for _ in range(500))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 2000


def test_a_call_that_a_claimed_answer_issued_may_begin_before_its_siblings_are_claimed(
    tape: Tape,
) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt(), "answer", "id0", "id1")
    tape.run(core, core.root, effect(digest="b", call_id="id1"), "second")
    core = tape.core()
    with pytest.raises(Divergence):
        core.begin(core.root, effect(digest="a", call_id="id0"), 0)  # its answer was not claimed
    core = tape.core()
    tape.run(core, core.root, prompt())
    begin_live(core, effect(digest="a", call_id="id0"))
    assert tape.run(core, core.root, effect(digest="b", call_id="id1")) == "second"


def test_an_issued_id_does_not_let_a_changed_call_pass(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt(), "answer", "id0")
    tape.run(core, core.root, effect(digest="4200", call_id="id0"))
    core = tape.core()
    tape.run(core, core.root, prompt())
    with pytest.raises(Divergence):
        core.begin(core.root, effect(digest="4300", call_id="id0"), 0)


def test_an_id_that_no_answer_issued_takes_no_part_in_the_key(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, effect(call_id="fresh-1"), "receipt")
    core = tape.core()
    assert tape.run(core, core.root, effect(call_id="fresh-2")) == "receipt"


def test_an_answer_that_issues_an_empty_id_lets_nothing_pass(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt(), "answer", "")
    tape.run(core, core.root, effect())
    core = tape.core()
    tape.run(core, core.root, prompt())
    with pytest.raises(Divergence):
        core.begin(core.root, effect(digest="other"), 0)


def test_recorded_values_are_calls_like_any_other(tape: Tape) -> None:
    now = Call(NodeType.MEMORY, "livespan.now")
    core = tape.core()
    assert [tape.run(core, core.root, now, n) for n in (100, 200)] == [100, 200]
    core = tape.core()
    assert [tape.run(core, core.root, now, n) for n in (300, 400)] == [100, 200]
