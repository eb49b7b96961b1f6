"""Errors as outcomes: which are raised again, which calls are asked again, and what is in doubt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.instrumentation.core_tape import Tape, begin_live, effect, prompt

from livespan.instrumentation.core import (
    Answer,
    Call,
    Live,
    NotDone,
    Outcome,
    Retry,
    mark,
    origins,
)
from livespan.proto.errors import InDoubt
from livespan.proto.ids import NodeId


@pytest.fixture
def tape() -> Tape:
    return Tape()


def test_an_error_that_the_program_caught_is_raised_again(tape: Tape) -> None:
    for call in (prompt(), effect()):
        core = tape.core()
        tape.failed(core, tape.started(begin_live(core, call)), ValueError("caught"))
        core = tape.core()
        begun = core.begin(core.root, call, 0)
        assert isinstance(begun, Answer)
        assert begun.recorded.outcome is Outcome.FAILED
        core.finish()
        tape.tries.clear()


def fail_run(tape: Tape, call: Call, error: BaseException) -> Live:
    core = tape.core()
    live = tape.started(begin_live(core, call))
    tape.failed(core, live, error)
    tape.finish(core, error)
    return live


def test_the_read_whose_error_ended_the_run_is_asked_again(tape: Tape) -> None:
    fail_run(tape, prompt(), ValueError())
    core = tape.core()
    again = tape.started(begin_live(core, prompt()))
    assert again.try_number == 1
    tape.done(core, again, "well")
    core = tape.core()
    assert tape.run(core, core.root, prompt()) == "well"
    core.finish()


def test_an_error_that_an_outer_call_caught_is_not_the_runs(tape: Tape) -> None:
    core = tape.core()
    tape.failed(core, tape.started(begin_live(core, prompt("a"))), ValueError())
    tape.finish(core, KeyError("the program's own, after it had caught the other"))
    core = tape.core()
    assert isinstance(core.begin(core.root, prompt("a"), 0), Answer)


def test_an_effect_whose_error_ended_the_run_is_in_doubt_unless_it_said_that_nothing_was_done(
    tape: Tape,
) -> None:
    fail_run(tape, effect("a"), ValueError())
    with pytest.raises(InDoubt):
        begin_live(tape.core(), effect("a"))
    assert begin_live(tape.core(), effect("a", in_doubt=Retry())).try_number == 1
    tape.tries.clear()
    fail_run(tape, effect("b"), NotDone("declined"))
    assert begin_live(tape.core(), effect("b")).try_number == 1


def test_reads_made_on_the_way_out_answer_but_need_not_be_asked_for(tape: Tape) -> None:
    core = tape.core()
    live = tape.started(begin_live(core, prompt()))
    error = ValueError()
    tape.failed(core, live, error)
    tape.run(core, core.root, prompt("explain"), "why")
    tape.finish(core, error)
    core = tape.core()
    tape.started(begin_live(core, prompt()))
    begin_live(core, prompt("next"))  # the frontier: what came on the way out does not hold it up
    core.finish()
    core = tape.core()
    begin_live(core, prompt())
    assert tape.run(core, core.root, prompt("explain")) == "why"


@pytest.mark.parametrize("where", ["its scope", "a new branch"])
def test_an_error_that_the_program_answered_with_an_effect_stands(tape: Tape, where: str) -> None:
    core = tape.core()
    error = ValueError()
    tape.failed(core, tape.started(begin_live(core, prompt("ship"))), error)
    scope = core.root if where == "its scope" else core.root.branch("cleanup")
    tape.run(core, scope, effect("refund"))
    tape.finish(core, error)
    core = tape.core()
    begun = core.begin(core.root, prompt("ship"), 0)
    assert isinstance(begun, Answer)
    assert begun.recorded.outcome is Outcome.FAILED


def test_an_effect_of_a_branch_under_way_does_not_make_an_error_stand(tape: Tape) -> None:
    core = tape.core()
    beside = core.root.branch("worker")
    tape.run(core, beside, prompt("look"))
    error = ValueError()
    tape.failed(core, tape.started(begin_live(core, prompt())), error)
    tape.run(core, beside, effect("buy"))
    tape.finish(core, error)
    assert begin_live(tape.core(), prompt()).try_number == 1


def test_a_cancelled_read_is_asked_again_and_a_cancelled_effect_is_in_doubt(tape: Tape) -> None:
    for call in (prompt(), effect()):
        core = tape.core()
        live = tape.started(begin_live(core, call))
        tape.failed(core, live, KeyboardInterrupt(), outcome=Outcome.CANCELLED)
        if call.effect:
            with pytest.raises(InDoubt):
                begin_live(tape.core(), call)
        else:
            again = begin_live(tape.core(), call)
            assert again.earlier is not None
            assert again.earlier.outcome is Outcome.CANCELLED
        tape.tries.clear()


def errors() -> Iterator[tuple[BaseException, list[bytes]]]:
    a, b = ValueError("a"), KeyError("b")
    mark(a, NodeId(b"a"))
    mark(b, NodeId(b"b"))
    caused = RuntimeError("wrapped")
    caused.__cause__ = a
    yield caused, [b"a"]
    handled = RuntimeError("while handling")
    handled.__context__ = b
    yield handled, [b"b"]
    yield ExceptionGroup("group", [a, ExceptionGroup("inner", [b, caused])]), [b"a", b"b"]
    later = OSError("later")
    later.__context__ = a
    mark(later, NodeId(b"c"))
    yield later, [b"c"]  # a call of its own, made while the other was handled
    loop = OSError("loop")
    loop.__context__ = OSError("x")
    loop.__context__.__context__ = loop
    yield loop, []


@pytest.mark.parametrize("case", list(errors()), ids=lambda case: str(case[0]))
def test_an_error_is_followed_to_the_calls_that_it_came_from(
    case: tuple[BaseException, list[bytes]],
) -> None:
    error, nodes = case
    assert list(origins(error)) == nodes
