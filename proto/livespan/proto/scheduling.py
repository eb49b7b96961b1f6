"""How drain and collector share the processor with the agents beside them.

Linux lets a thread that wakes up take the processor from the one that runs there. A sidecar wakes up for every batch,
and on a busy machine each of those costs an agent half a millisecond in the middle of its step. A batch thread
(SCHED_BATCH, sched(7)) gets the same share of the processor, but waits for its turn: where whoever runs does not stop
by himself, up to the kernel's next tick, 4 ms. An idle one (SCHED_IDLE) is left at once for any other.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

__all__ = ["give_way", "take_turns", "taking_turns", "wake_at_once"]


def take_turns() -> None:
    """Let the calling thread, and each that it starts from now on, take the processor from nobody."""
    _schedule(os.SCHED_BATCH)


@contextmanager
def taking_turns() -> Generator[None]:
    """Take the processor from nobody within the block: for long work of an agent's own threads.

    A thread that somebody set apart (real-time, idle) stays as it is.
    """
    ordinary = os.sched_getscheduler(0) == os.SCHED_OTHER
    if ordinary:
        take_turns()
    try:
        yield
    finally:
        if ordinary:
            wake_at_once()


def wake_at_once() -> None:
    """Let the calling thread, which somebody waits for, run as soon as it wakes up: what is ordinary."""
    _schedule(os.SCHED_OTHER)


def give_way() -> None:
    """Let the calling thread, and each that it starts from now on, run when nobody else wants to: for a process of its
    own that holds nothing another waits for.
    """
    _schedule(os.SCHED_IDLE)


def _schedule(policy: int) -> None:
    # A container may forbid it: then all threads are scheduled alike, and nothing else changes.
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
