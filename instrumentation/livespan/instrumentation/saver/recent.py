"""What the newest checkpoints hold, as bytes: the next checkpoint is stored against its parent. What is not here any
more costs room, not truth: a checkpoint whose parent is unknown is stored whole.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from livespan.instrumentation.saver.packed import Version
from livespan.instrumentation.saver.stored_value import StoredValue
from livespan.instrumentation.saver.thread_state import Place

__all__ = ["Recent", "RecentCheckpoint"]

_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LIMIT: Final = 1024


@dataclass(frozen=True, slots=True)
class RecentCheckpoint:
    """What is acknowledged of a checkpoint's channels: versions, and each value with its bytes."""

    versions: dict[str, Version]
    values: dict[str, tuple[StoredValue, bytes]]

    @property
    def size_bytes(self) -> int:
        """The values' sizes together; what a parent holds too is counted again."""
        return sum([len(data) for _, data in self.values.values()])


class Recent:
    """Of all threads together, least recently used first. Thread-safe."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Place], RecentCheckpoint] = OrderedDict()
        self._bytes = 0

    def get(self, thread_id: str, place: Place) -> RecentCheckpoint | None:
        """Return what is known of a checkpoint's values."""
        with self._lock:
            found = self._kept.get((thread_id, place))
            if found is not None:
                self._kept.move_to_end((thread_id, place))
            return found

    def forget(self, thread_id: str) -> None:
        """Forget all of a thread: its collector does not have it any more."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == thread_id]:
                self._bytes -= self._kept.pop(key).size_bytes

    def put(self, thread_id: str, place: Place, checkpoint: RecentCheckpoint) -> None:
        """Keep what an acknowledged checkpoint holds."""
        with self._lock:
            known = self._kept.pop((thread_id, place), None)
            self._bytes += checkpoint.size_bytes - (known.size_bytes if known else 0)
            self._kept[thread_id, place] = checkpoint
            while self._kept and (self._bytes > self._limit_bytes or len(self._kept) > _LIMIT):
                self._bytes -= self._kept.popitem(last=False)[1].size_bytes
