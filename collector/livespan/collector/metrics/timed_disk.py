"""A disk that is watched: how long its syncs take, and a word to the operator when one takes very long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from livespan.collector.disk import Disk
from livespan.collector.metrics.buckets import SYNC_S, Buckets
from livespan.collector.notices import Notices, Seldom

__all__ = ["TimedDisk"]

_SLOW_S: Final = 1.0


class TimedDisk:
    """Does what `disk` does, and measures its syncs.

    Attributes:
        file_syncs, folder_syncs: seconds that each took, failed ones included.
        failures: syncs that failed.
    """

    def __init__(self, disk: Disk, notices: Notices | None = None, slow_s: float = _SLOW_S) -> None:
        self.file_syncs = Buckets(SYNC_S)
        self.folder_syncs = Buckets(SYNC_S)
        self.failures = 0
        self._disk = disk
        self._slow_s = slow_s
        self._seldom = Seldom(notices or Notices("disk"))

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        return self._disk.write(fd, path, buffers, offset)

    def sync_file(self, fd: int, path: Path) -> None:
        self._timed(self.file_syncs, path, lambda: self._disk.sync_file(fd, path))

    def sync_folder(self, path: Path) -> None:
        self._timed(self.folder_syncs, path, lambda: self._disk.sync_folder(path))

    def replace(self, source: Path, target: Path) -> None:
        self._disk.replace(source, target)

    def remove(self, path: Path) -> None:
        self._disk.remove(path)

    def _timed(self, buckets: Buckets, path: Path, sync: Callable[[], None]) -> None:
        began_s = time.perf_counter()
        try:
            sync()
        except OSError as error:
            self.failures += 1
            self._seldom.warning("failed", "a sync failed", path=str(path), error=str(error))
            raise
        finally:
            took_s = time.perf_counter() - began_s
            buckets.add(took_s)
            if took_s >= self._slow_s:
                self._seldom.warning("slow", "the disk is slow", path=str(path), sync_s=round(took_s, 3))
