from __future__ import annotations

import os
from dataclasses import dataclass, replace

import pytest

from livespan.proto.errors import LeaseLost, RunHeld
from livespan.proto.ids import trace_id
from livespan.proto.process import ProcessId, this_process
from livespan.recovery.leases import Lease, LeaseEvent, Leases

TRACE = trace_id("p", "r")
HERE = this_process()
ELSEWHERE = replace(HERE, boot_id="another kernel", pid=7)


@dataclass
class Hands:
    """A clock that is moved by hand."""

    now_s: float = 1000.0

    def wall_ns(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s


def wanted(holder: ProcessId = ELSEWHERE, run_id: str = "r") -> Lease:
    return Lease(trace_id("p", run_id), "p", run_id, 0, 0, holder, "spool", 0.0)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def leases(clock: Hands) -> Leases:
    return Leases(clock, 15.0)


def dead() -> ProcessId:
    """A process of this machine that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return replace(HERE, pid=child, start_time_ticks=1)


def test_one_process_holds_a_run(leases: Leases) -> None:
    assert leases.acquire(wanted(), 0).epoch == 1
    with pytest.raises(RunHeld) as held:
        leases.acquire(wanted(), 0)
    assert "pid 7" in held.value.message
    assert "15.0 s" in held.value.message
    assert held.value.hint
    assert leases.acquire(wanted(run_id="another"), 0).epoch == 1


def test_a_lease_ends_when_it_is_not_renewed(leases: Leases, clock: Hands) -> None:
    leases.acquire(wanted(), 0)
    clock.now_s += 14.999
    leases.admit(TRACE, 1)
    assert leases.held(TRACE)
    clock.now_s += 0.001
    assert not leases.held(TRACE)
    with pytest.raises(LeaseLost, match="not renewed within 15 s") as lost:
        leases.admit(TRACE, 1)
    assert "same run id" in lost.value.hint


def test_a_renewal_gives_the_full_time_again(leases: Leases, clock: Hands) -> None:
    leases.acquire(wanted(), 0)
    for _ in range(5):
        clock.now_s += 14
        leases.renew(TRACE, 1)
    leases.admit(TRACE, 1)


def test_a_lease_that_is_over_cannot_be_renewed(leases: Leases, clock: Hands) -> None:
    leases.acquire(wanted(), 0)
    clock.now_s += 15
    with pytest.raises(LeaseLost):
        leases.renew(TRACE, 1)


def test_the_next_holder_fences_the_one_before(leases: Leases, clock: Hands) -> None:
    leases.acquire(wanted(), 0)
    clock.now_s += 15
    assert leases.acquire(wanted(), 0).epoch == 2
    leases.admit(TRACE, 2)
    for asked in (leases.admit, leases.renew):
        with pytest.raises(LeaseLost, match="epoch 1 was followed by epoch 2"):
            asked(TRACE, 1)
    assert leases.release(TRACE, 1) is None
    leases.admit(TRACE, 2)


def test_an_epoch_follows_whatever_the_record_holds(leases: Leases) -> None:
    assert leases.acquire(wanted(), 41).epoch == 42
    leases.release(TRACE, 42)
    assert leases.acquire(wanted(), 0).epoch == 43
    leases.know_epoch(trace_id("p", "s"), 9)
    assert leases.acquire(wanted(run_id="s"), 3).epoch == 10


def test_a_lease_that_was_given_back_admits_nothing(leases: Leases) -> None:
    leases.acquire(wanted(), 0)
    released = leases.release(TRACE, 1)
    assert released is not None
    assert released.epoch == 1
    with pytest.raises(LeaseLost):
        leases.admit(TRACE, 1)
    assert leases.release(TRACE, 1) is None
    assert leases.live() == []


def test_the_death_of_a_holder_of_this_machine_frees_its_run_at_once(leases: Leases) -> None:
    leases.acquire(wanted(dead()), 0)
    assert not leases.held(TRACE)
    assert leases.acquire(wanted(HERE), 0).epoch == 2
    assert leases.held(TRACE)


def test_a_pid_that_was_given_to_another_process_is_no_holder(leases: Leases) -> None:
    leases.acquire(wanted(replace(HERE, start_time_ticks=HERE.start_time_ticks - 1)), 0)
    assert not leases.held(TRACE)


@pytest.mark.parametrize("other", [{"boot_id": "another"}, {"pid_namespace": 1}])
def test_a_holder_that_cannot_be_seen_from_here_lives_until_its_lease_ends(
    leases: Leases, clock: Hands, other: dict[str, str | int]
) -> None:
    leases.acquire(wanted(replace(dead(), **other)), 0)  # type: ignore[arg-type]  # fields of a ProcessId
    assert leases.held(TRACE)
    clock.now_s += 15
    assert not leases.held(TRACE)


def test_what_ended_by_itself_is_told_once_with_the_reason(leases: Leases, clock: Hands) -> None:
    leases.acquire(wanted(), 0)
    clock.now_s += 1
    leases.acquire(wanted(dead(), "s"), 0)
    leases.acquire(wanted(HERE, "t"), 0)
    assert [(lease.run_id, event) for lease, event in leases.over()] == [("s", LeaseEvent.DIED)]
    clock.now_s += 14
    assert [(lease.run_id, event) for lease, event in leases.over()] == [("r", LeaseEvent.EXPIRED)]
    assert leases.over() == []
    assert [lease.run_id for lease in leases.live()] == ["t"]


def test_a_restored_lease_gets_its_full_time_and_keeps_its_epoch(leases: Leases, clock: Hands) -> None:
    leases.restore(replace(wanted(), epoch=5))
    clock.now_s += 14
    leases.admit(TRACE, 5)
    with pytest.raises(RunHeld):
        leases.acquire(wanted(), 5)
    clock.now_s += 1
    assert leases.acquire(wanted(), 0).epoch == 6


def test_without_fencing_everything_is_admitted(clock: Hands) -> None:
    Leases(clock, 15.0, fencing=False).admit(TRACE, 1)


def test_a_question_asked_again_gets_the_lease_that_it_got(leases: Leases, clock: Hands) -> None:
    """The collector may die between the grant and its answer; the asker must not be refused by itself."""
    asked = replace(wanted(), token="t1")
    first = leases.acquire(asked, 0)
    clock.now_s += 10
    again = leases.acquire(asked, 1)
    assert (again.epoch, again.expires_s) == (first.epoch, clock.now_s + 15.0)
    with pytest.raises(RunHeld):
        leases.acquire(replace(asked, token="t2"), 1)
    with pytest.raises(RunHeld):
        leases.acquire(replace(asked, holder=replace(ELSEWHERE, pid=8)), 1)


def test_a_lease_said_again_late_does_not_bring_back_an_older_epoch(leases: Leases) -> None:
    granted = replace(wanted(), epoch=2)
    leases.restore(granted)
    leases.restore(replace(granted, epoch=1))
    leases.admit(TRACE, 2)
