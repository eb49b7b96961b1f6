"""A distribution that is being measured: how many values fell into which bucket."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Final

from livespan.proto.measured import Distribution

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "PUBLICATION_S", "SYNC_S", "Buckets"]

SYNC_S: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
PUBLICATION_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_RECORDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
BATCH_BYTES: Final = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)


class Buckets:
    """Counts values. Thread-safe; meant for what happens thousands of times a second, not for each record."""

    __slots__ = ("_bounds", "_counts", "_lock", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Count a value; one that equals a bound is below it."""
        index = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[index] += 1
            self._total += value

    def read(self) -> Distribution:
        """Return what was counted, as it stood at one instant."""
        with self._lock:
            return Distribution(self._bounds, tuple(self._counts), self._total)
