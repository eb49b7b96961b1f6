"""Scopes: what must be claimed at their end, what runs inside calls, gaps, restored states, names."""

from __future__ import annotations

import pytest
from tests.instrumentation.core_tape import Tape, begin_live, effect, prompt

from livespan.instrumentation.core import (
    Answer,
    Outcome,
    Settlement,
    escape,
)
from livespan.proto.errors import Divergence, InDoubt


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_a_scope_and_a_run_that_end_well_must_have_claimed_everything(tape: Tape) -> None:
    core = tape.core()
    scope = core.enter(core.root, "s")
    tape.run(core, scope, prompt())
    core = tape.core()
    with pytest.raises(Divergence, match="nothing asked for what record 1 holds"):
        core.leave(core.enter(core.root, "s"))
    core = tape.core()
    core.leave(core.enter(core.root, "s"), ValueError())
    with pytest.raises(Divergence):
        core.finish()
    tape.core().finish(ValueError())


def test_what_ran_inside_an_answered_call_is_claimed_with_it_but_never_a_doubt(tape: Tape) -> None:
    core = tape.core()
    outer = tape.started(begin_live(core, prompt("outer")))
    inner = tape.started(begin_live(core, prompt("inner"), outer.inside))
    tape.run(core, inner.inside.branch("worker"), prompt("deep"))
    tape.done(core, inner, "x")
    tape.done(core, outer, "y")
    core = tape.core()
    tape.run(core, core.root, prompt("outer"))
    core.finish()
    tape.started(begin_live(tape.core(), effect("left behind"), outer.inside.branch("late")))
    core = tape.core()
    tape.run(core, core.root, prompt("outer"))
    with pytest.raises(InDoubt):
        core.finish()


def test_a_call_asked_again_must_do_inside_itself_what_its_earlier_try_did(tape: Tape) -> None:
    core = tape.core()
    outer = tape.started(begin_live(core, prompt("outer")))
    tape.run(core, outer.inside, effect(), "receipt")
    core = tape.core()
    outer = begin_live(core, prompt("outer"))
    with pytest.raises(Divergence):
        core.done(outer)
    core = tape.core()
    outer = begin_live(core, prompt("outer"))
    assert tape.run(core, outer.inside, effect()) == "receipt"
    core.done(outer)
    core.finish()


def test_a_gap_lets_reads_through_and_an_effect_once_no_recorded_one_is_left(tape: Tape) -> None:
    core = tape.core()
    scope = core.enter(core.root, "s")
    tape.run(core, scope, prompt("b"))
    tape.run(core, scope, effect(digest="4200"))
    tape.gaps.add("/s.0")
    core = tape.core()
    scope = core.enter(core.root, "s")
    begin_live(core, prompt("lost"), scope)
    with pytest.raises(Divergence):
        core.begin(scope, effect(digest="4300"), 0)
    core = tape.core()
    scope = core.enter(core.root, "s")
    tape.run(core, scope, effect(digest="4200"))
    begin_live(core, effect(digest="4300"), scope)
    core.leave(scope)  # a read that was recorded and not asked for is forgiven
    core.finish()
    with pytest.raises(Divergence):
        tape.core().finish()  # the effect is not


def test_restore_claims_what_ended_before_the_checkpoint_and_goes_on_counting(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root, prompt(), 0)
    worker = core.root.branch("worker")
    tape.run(core, worker, effect(), "paid")
    tape.run(core, core.root, prompt(), 1)
    under_way = tape.started(begin_live(core, prompt("slow"), worker))
    checkpoint, counters = tape.tick(), core.root.counters()
    assert counters == {"~worker": 1}
    tape.run(core, core.root, prompt(), 2)
    core = tape.core()
    core.restore(core.root, checkpoint, counters)
    assert tape.run(core, core.root, prompt(), "?") == 2
    assert core.root.branch("worker").path == "/~worker.1"
    core.finish()
    tape.change(under_way, outcome=Outcome.SUCCEEDED, ended_order=tape.tick())
    core = tape.core()
    worker = core.root.branch("worker")
    core.restore(core.root, checkpoint, counters)
    assert isinstance(core.begin(worker, prompt("slow"), 0), Answer)


def test_a_doubt_from_before_the_checkpoint_is_said_at_the_end(tape: Tape) -> None:
    core = tape.core()
    live = tape.started(begin_live(core, effect(), core.root.branch("worker")))
    checkpoint = tape.tick()
    core = tape.core()
    core.restore(core.root, checkpoint, {})
    begin_live(core, prompt())
    with pytest.raises(InDoubt):
        core.finish()
    tape.change(live, settled=Settlement.DONE, ended_order=tape.tick())
    core = tape.core()
    core.restore(core.root, checkpoint, {})
    core.finish()


def test_restore_of_one_scope_leaves_the_others_alone(tape: Tape) -> None:
    core = tape.core()
    first, second = core.enter(core.root, "s"), core.enter(core.root, "s")
    tape.run(core, first, prompt())
    tape.run(core, second, prompt())
    core = tape.core()
    core.restore(core.enter(core.root, "s"), tape.tick(), {})
    with pytest.raises(Divergence, match="record 3"):
        core.finish()


def test_no_two_scopes_have_one_path(tape: Tape) -> None:
    root = tape.core().root
    paths = [
        root.named("a").path,
        root.named("a").path,
        root.named("a.0").path,
        root.named("~a").path,
        root.branch("a").path,
        root.by_hand("a").path,
        root.by_hand("a").path,
        root.by_hand("a#1").path,
        root.named("a.0/b").path,
        root.named("a").named("b").path,
        root.named("").path,
        root.named("%7Ea").path,
    ]
    assert paths[:2] == ["/a.0", "/a.1"]
    assert paths[4:7] == ["/~a.0", "/@a", "/@a#1"]
    assert len(set(paths)) == len(paths)
    assert escape("plan b") == "plan b"


def test_scopes_are_announced_once_outermost_first_and_calls_need_no_branch_node(
    tape: Tape,
) -> None:
    core = tape.core()
    inner = core.root.named("a").branch("b")
    assert [s.path for s in inner.announce()] == ["/", "/a.0", "/a.0/~b.0"]
    assert inner.announce() == []
    assert begin_live(core, prompt(), inner).inside.announce() == []


def test_a_gap_holds_for_the_scopes_within_it(tape: Tape) -> None:
    core = tape.core()
    tape.run(core, core.root.branch("worker"), prompt("b"))
    tape.gaps.add("/")
    core = tape.core()
    begin_live(core, prompt("a"), core.root.branch("worker"))
    core.finish()
