"""How much the spool may hold: the caps of a process and of a home, and the reasons for which room is refused.

Sizes are taken from the files themselves whenever a segment is to be made, never from counters: another process's
drain deletes them. Two processes that ask at the same moment may both be let in, so the home's cap can be passed by
one segment per process.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from livespan.instrumentation.spool.layout import SEGMENT_SUFFIX

__all__ = ["Quota", "Refusal", "segments_bytes"]


class Refusal(StrEnum):
    """Why there was no room."""

    PROCESS_CAP = "process_cap"
    HOME_CAP = "home_cap"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    NESTED = "nested"
    """Handlers broke into handlers too deep."""
    ABANDONED = "abandoned"
    """A fork left this writer to the parent; the child's own takes the record."""


class Quota:
    """The caps that one process is held to, in bytes; all its writers share them."""

    __slots__ = ("_max_home_bytes", "_max_process_bytes", "_own", "_spool")

    def __init__(self, spool: Path, *, max_process_bytes: int, max_home_bytes: int) -> None:
        self._spool = spool
        self._max_process_bytes = max_process_bytes
        self._max_home_bytes = max_home_bytes
        self._own: set[str] = set()

    def count_as_own(self, folder: Path) -> None:
        """Count a folder's segments against this process."""
        self._own.add(folder.name)

    def refuses(self, size_bytes: int) -> Refusal | None:
        """Return why a segment of this size may not be made, or None where it may."""
        own, home = self.usage()
        if own + size_bytes > self._max_process_bytes:
            return Refusal.PROCESS_CAP
        if home + size_bytes > self._max_home_bytes:
            return Refusal.HOME_CAP
        return None

    def usage(self) -> tuple[int, int]:
        """Return the bytes of segments of (this process, the whole home), spare ones included."""
        own = home = 0
        for name in os.listdir(self._spool):
            size = segments_bytes(self._spool / name)
            home += size
            if name in self._own:
                own += size
        return own, home


def segments_bytes(folder: Path) -> int:
    """Return what the segments in a writer's folder take on disk."""
    total = 0
    try:
        with os.scandir(folder) as files:
            for file in files:
                if SEGMENT_SUFFIX in file.name:
                    try:
                        total += file.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return total
