from __future__ import annotations

import os
import threading

from livespan.proto.scheduling import give_way, take_turns, taking_turns, wake_at_once


def test_a_thread_and_those_that_it_starts_take_turns_until_one_is_waited_for() -> None:
    before = os.sched_getscheduler(0)
    policies: list[int] = []

    def waited_for() -> None:
        policies.append(os.sched_getscheduler(0))
        wake_at_once()
        policies.append(os.sched_getscheduler(0))

    def sidecar() -> None:
        take_turns()
        thread = threading.Thread(target=waited_for)
        thread.start()
        thread.join(10)
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=sidecar)
    thread.start()
    thread.join(10)
    assert policies == [os.SCHED_BATCH, os.SCHED_OTHER, os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == before


def test_a_thread_takes_turns_for_one_piece_of_work_and_is_ordinary_again() -> None:
    policies: list[int] = []

    def agents_own() -> None:
        wake_at_once()
        with taking_turns():
            policies.append(os.sched_getscheduler(0))
        policies.append(os.sched_getscheduler(0))
        take_turns()  # by somebody else's choice
        with taking_turns():
            pass
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=agents_own)
    thread.start()
    thread.join(10)
    assert policies == [os.SCHED_BATCH, os.SCHED_OTHER, os.SCHED_BATCH]


def test_a_process_that_nobody_waits_for_gives_way_to_all() -> None:
    policies: list[int] = []

    def merges() -> None:
        give_way()
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=merges)
    thread.start()
    thread.join(10)
    assert policies == [os.SCHED_IDLE]
