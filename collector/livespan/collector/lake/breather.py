"""Pauses within a publication, so that it takes the processor, and Python's one lock, by turns with who acknowledges.

A publication of 4,000 records computes for half a second where an acknowledgement goes through four threads within
milliseconds. At 1,000 nodes of 50 KB a second those took 18 ms at p90 and 40 ms at p99 (two cores); with as much pause
as work they take 9 ms and 20 ms. A publication then takes twice as long, and nobody waits for it: what it publishes is
durable, and can be asked for already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Breather", "no_pause"]

_WORK_S: Final = 0.002
_LONGEST_S: Final = 0.01


def no_pause() -> None:
    """Go on at once."""


class Breather:
    """Called between steps of a publication, by its thread; pauses after each two milliseconds of work for as long.

    Args:
        hurried: whether there is no time for that: records come faster than they are published.
    """

    def __init__(self, hurried: Callable[[], bool]) -> None:
        self._hurried = hurried
        self._since_s = time.perf_counter()

    def begin(self) -> None:
        """Count from here on."""
        self._since_s = time.perf_counter()

    def __call__(self) -> None:
        """Pause, where it is time."""
        worked_s = time.perf_counter() - self._since_s
        if worked_s >= _WORK_S and not self._hurried():
            time.sleep(min(worked_s, _LONGEST_S))
            self._since_s = time.perf_counter()
