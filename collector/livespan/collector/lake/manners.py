"""How long work beside acknowledgements lets others go first: a pause of a moment, each millisecond.

The collector's threads take the processor from nobody (scheduling.py), so one that wakes up for an acknowledgement
waits until whoever runs there stops, or for the kernel's next tick, 4 ms; and one that wakes up to ask for the GIL
waits just as long before it can even ask. A request changes threads eight times. So whoever works for long stops by
himself; with both processors busy, that is most of what an acknowledgement waited for while files were written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["Manners"]

_WORK_S: Final = 0.001
_PAUSE_S: Final = 0.0001
_T = TypeVar("_T")


class Manners:
    """Those of one thread.

    Args:
        hurried: whether there is no time for them now.
    """

    def __init__(self, hurried: Callable[[], bool] = lambda: False) -> None:
        self._hurried = hurried
        self._until_s = 0.0

    def after_each(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield items, and let others go first behind each that was work enough, or the last of many."""
        for item in items:
            yield item
            self.stand_back()

    def stand_back(self) -> None:
        """Let others go first where the last pause is long enough ago."""
        if time.perf_counter() < self._until_s:
            return
        if not self._hurried():
            time.sleep(_PAUSE_S)
        self._until_s = time.perf_counter() + _WORK_S
