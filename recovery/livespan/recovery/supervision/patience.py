"""How long to wait before a program is started again, and when to stop trying. No clock and no I/O.

a crash ─┬─ the run got on since the last one ─▶ counts begin anew
         ├─ at the same place, nothing new, for the third time ─▶ give up: a crash loop
         ├─ as many restarts as are allowed, without progress  ─▶ give up
         └─ else wait: twice as long as before, and not quite
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from livespan.proto.clock import random_float

__all__ = ["GaveUp", "Limits", "Patience", "Sighting"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient to be.

    Attributes:
        max_restarts: without progress in between.
        same_place: lives that ended at one place with nothing new, after which it is called a crash loop.
        backoff_s: before the first restart; each further one waits twice as long.
        max_backoff_s: and at most this long.
    """

    max_restarts: int = 10
    same_place: int = 3
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a run was seen after the end of a life: how far (it only grows), and where, as the same key each time."""

    progress: int
    place: str


class GaveUp(StrEnum):
    """Why there is no further start."""

    CRASH_LOOP = "crash loop"
    LIMIT = "limit"


class Patience:
    """The count of one run's crashes.

    Attributes:
        restarts: since the run last got on.
        lives_here: how many lives have ended at the place where the last one did, with nothing new.

    Args:
        limits: how patient to be.
        progress: how far the run was before the first life.
        jitter: returns a number in [0, 1).
    """

    def __init__(self, limits: Limits, progress: int, jitter: Callable[[], float] = random_float) -> None:
        self.restarts = 0
        self.lives_here = 0
        self._limits = limits
        self._progress = progress
        self._place: str = ""
        self._jitter = jitter

    def crashed(self, seen: Sighting) -> GaveUp | None:
        """Take note of a crash; return why there should be no further start, None where there should."""
        if seen.progress > self._progress:
            self.restarts, self.lives_here = 0, 0
        elif seen.place != self._place:
            self.lives_here = 0
        self._progress, self._place = max(seen.progress, self._progress), seen.place
        self.lives_here += 1
        if self.restarts >= self._limits.max_restarts:
            return GaveUp.LIMIT
        if self.lives_here >= self._limits.same_place:
            return GaveUp.CRASH_LOOP
        self.restarts += 1
        return None

    def would_give_up(self, seen: Sighting) -> bool:
        """Return whether a crash seen so would be the last; nothing is counted."""
        if seen.progress > self._progress:
            return self._limits.max_restarts == 0 or self._limits.same_place <= 1
        here = self.lives_here if seen.place == self._place else 0
        return self.restarts >= self._limits.max_restarts or here + 1 >= self._limits.same_place

    def looked(self, seen: Sighting) -> None:
        """Correct the count of the last crash: what a killed life had left in its spool may be seen only now."""
        if seen.progress > self._progress:
            self.restarts, self.lives_here = min(self.restarts, 1), 1
        elif seen.place != self._place:
            self.lives_here = 1
        self._progress, self._place = max(seen.progress, self._progress), seen.place

    def wait_s(self) -> float:
        """Return how long to wait before the restart that was counted last."""
        longest = min(self._limits.max_backoff_s, self._limits.backoff_s * 2.0 ** min(self.restarts - 1, 60))
        return longest * (0.5 + self._jitter() / 2)
