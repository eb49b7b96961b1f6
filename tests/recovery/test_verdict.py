from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from livespan.proto.process import ProcessId, this_process
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.supervision.children import Ended
from livespan.recovery.supervision.verdict import Outcome, held_elsewhere, judge

FRESH = pb.StandingReply()
ONCE = pb.StandingReply(attempts=1)
DONE = pb.StandingReply(attempts=1, finished=True)
ME = this_process()


def holder(process: ProcessId) -> pb.Holder:
    return pb.Holder(
        pid=process.pid,
        start_time_ticks=process.start_time_ticks,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        host=process.host,
    )


def stopped(name: str, kind: str) -> pb.StandingReply:
    return pb.StandingReply(attempts=1, stopped=pb.ErrorDetail(name=name, kind=kind, message="m", hint="h"))


def exit_code(code: int) -> Ended:
    return Ended(1, code, 0)


def killed(number: int) -> Ended:
    return Ended(1, 0, number)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [("InDoubt", "conflict", 5), ("Divergence", "diverged", 6), ("RunCancelled", "conflict", 5), ("Stop", "new", 1)],
)
@pytest.mark.parametrize("left_by", [0, 1, 77])
def test_a_recorded_stop_stops_whatever_the_exit_code(name: str, kind: str, code: int, left_by: int) -> None:
    verdict = judge(exit_code(left_by), 0, FRESH, stopped(name, kind))
    assert (verdict.outcome, verdict.exit_code, verdict.name) == (Outcome.STOPPED, code, name)
    assert (verdict.reason, verdict.hint) == ("m", "h")


@pytest.mark.parametrize("name", ["LeaseLost", "EffectUnavailable"])
def test_a_stop_that_passes_is_a_crash(name: str) -> None:
    assert judge(exit_code(1), 0, FRESH, stopped(name, "conflict")).outcome is Outcome.CRASHED


def test_the_stop_of_a_life_before_is_not_this_ones() -> None:
    before = stopped("InDoubt", "conflict")
    assert judge(killed(signal.SIGKILL), 0, before, before).outcome is Outcome.CRASHED


def test_a_finished_run_that_is_opened_anew_is_opened() -> None:
    before = pb.StandingReply(attempts=4, finished=True)
    after = stopped("InDoubt", "conflict")
    after.generation = 1
    assert judge(exit_code(1), 0, before, after).outcome is Outcome.STOPPED


@pytest.mark.parametrize("code", [2, 126, 127])
def test_exit_codes_of_a_wrong_call_count_only_before_the_run_was_opened(code: int) -> None:
    unopened = judge(exit_code(code), 0, ONCE, ONCE)
    assert (unopened.outcome, unopened.exit_code) == (Outcome.STOPPED, 2)
    assert judge(exit_code(code), 0, FRESH, ONCE).outcome is Outcome.CRASHED


def test_signals_and_other_exit_codes_are_crashes_with_or_without_a_collector() -> None:
    for ended in (killed(signal.SIGKILL), killed(signal.SIGSEGV), killed(signal.SIGTERM), exit_code(1), exit_code(3)):
        for after in (ONCE, FRESH, None):
            assert judge(ended, 0, FRESH, after).outcome is Outcome.CRASHED


def test_exit_code_0_is_done_and_a_run_that_has_not_ended_is_remarked() -> None:
    assert judge(exit_code(0), 0, FRESH, DONE).reason == ""
    assert judge(exit_code(0), 0, FRESH, None).reason == ""
    assert "did not end" in judge(exit_code(0), 0, FRESH, ONCE).reason
    assert "has not opened" in judge(exit_code(0), 0, FRESH, FRESH).reason
    assert {judge(exit_code(0), 0, FRESH, after).exit_code for after in (DONE, ONCE, FRESH, None)} == {0}


def test_a_failure_after_the_run_is_finished_is_not_repeated() -> None:
    for ended in (exit_code(1), killed(signal.SIGSEGV)):
        assert judge(ended, 0, FRESH, DONE).name == "RunFinished"


def test_who_was_asked_to_end_does_and_tells_how_the_program_took_it() -> None:
    assert judge(exit_code(0), signal.SIGTERM, FRESH, DONE).exit_code == 0
    assert judge(exit_code(3), signal.SIGTERM, FRESH, ONCE).exit_code == 143
    assert judge(killed(signal.SIGINT), signal.SIGINT, FRESH, ONCE).exit_code == 130
    assert judge(exit_code(1), signal.SIGINT, FRESH, stopped("InDoubt", "conflict")).outcome is Outcome.ENDED


def test_a_run_that_another_process_has_is_left_to_it() -> None:
    verdict = judge(exit_code(1), 0, FRESH, pb.StandingReply(attempts=1, holder=holder(ME)))
    assert (verdict.exit_code, verdict.name) == (5, "RunHeld")
    assert f"pid {ME.pid}" in verdict.reason


def test_a_cancelled_run_is_no_crash_loop_unless_its_program_begins_it_anew() -> None:
    cancelled = pb.StandingReply(attempts=1, cancelled="cancel by ann")
    verdict = judge(exit_code(1), 0, cancelled, cancelled)
    assert (verdict.outcome, verdict.exit_code, verdict.name) == (Outcome.STOPPED, 5, "RunCancelled")
    assert "cancel by ann" in verdict.reason
    anew = pb.StandingReply(attempts=1, generation=1)
    assert judge(exit_code(1), 0, cancelled, anew).outcome is Outcome.CRASHED


def test_a_dead_holder_of_this_machine_is_none_and_a_distant_one_may_live() -> None:
    dead = replace(ME, start_time_ticks=ME.start_time_ticks + 1)
    assert held_elsewhere(pb.StandingReply(holder=holder(dead))) is None
    distant = replace(dead, boot_id="another machine")
    assert held_elsewhere(pb.StandingReply(holder=holder(distant))) == distant
    assert held_elsewhere(pb.StandingReply()) is None
