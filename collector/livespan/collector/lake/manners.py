"""How long work beside acknowledgements lets others go first: a moment's pause, every two milliseconds.

The collector's threads take the processor from nobody (scheduling.py), so where all are busy, one that wakes up for
an acknowledgement waits until whoever runs there stops, or for the kernel's next tick, 4 ms; and one that wakes up to
ask for the GIL waits just as long before it can even ask. A request changes threads several times. So whoever works for
long beside them stops by himself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["Manners"]

_WORK_S: Final = 0.002
_PAUSE_S: Final = 0.0001
_T = TypeVar("_T")


class Manners:
    """Those of one thread.

    Args:
        hurried: whether there is no time for them now.
        pause: takes seconds; a seam for tests.
    """

    def __init__(
        self, hurried: Callable[[], bool] = lambda: False, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._hurried = hurried
        self._pause = pause
        self._until_s = 0.0

    def after_each(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield items, and let others go first between them where the work on them has taken long enough."""
        for item in items:
            yield item
            self.stand_back()

    def stand_back(self) -> None:
        """Let others go first where the last pause is long enough ago."""
        if time.perf_counter() < self._until_s:
            return
        if not self._hurried():
            self._pause(_PAUSE_S)
        self._until_s = time.perf_counter() + _WORK_S
