"""Files that a merge has taken out of a table: who reads an older snapshot still finds them for a while, then they go.

live ── merged, committed ──▶ removed, on disk ── GRACE_S ──▶ gone
                                    └─ a restart: the time is in the commit that removed it
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from livespan.collector.disk import Disk
from livespan.collector.lake.commit_file import OUR_COMMIT
from livespan.collector.lake.delta_folder import LOG_FOLDER

__all__ = ["GRACE_S", "RemovedFiles"]

GRACE_S: Final = 3600
"""How long at least, in seconds. Statements end within their own limit, far below; this is for those who opened
`views.sql` or the table by themselves.
"""


class _Remove(msgspec.Struct, frozen=True):
    path: str
    deletionTimestamp: int = 0  # noqa: N815  # the protocol's name


class _Line(msgspec.Struct, frozen=True):
    remove: _Remove | None = None


class RemovedFiles:
    """The removed files of one table that are on disk. One thread at a time."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._since_ms: dict[Path, int] = {}

    def __len__(self) -> int:
        return len(self._since_ms)

    def find(self, live: frozenset[str]) -> None:
        """At start: take in what former lives removed, not what another engine did: that is its own to sweep.

        Commits are read only where there is such a file.
        """
        there = {path.name: path for path in self._folder.glob("*.parquet") if path.name not in live}
        if not there:
            return
        decoder = msgspec.json.Decoder(_Line)
        for commit in (self._folder / LOG_FOLDER).glob("*.json"):
            data = commit.read_bytes()
            if OUR_COMMIT not in data:
                continue
            for line in data.splitlines():
                try:
                    removed = decoder.decode(line).remove
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue  # an old commit, damaged; `livespan verify` names it
                if removed is not None and removed.path in there:
                    self._since_ms[there[removed.path]] = removed.deletionTimestamp

    def add(self, paths: Iterable[Path], now_ns: int) -> None:
        """Note files that a commit has just removed."""
        self._since_ms.update(dict.fromkeys(paths, now_ns // 1_000_000))

    def sweep(self, now_ns: int) -> list[Path]:
        """Remove from the disk what was removed from the table long enough ago; return it.

        Raises:
            OSError: the disk refused; what is left is tried again.
        """
        before_ms = now_ns // 1_000_000 - GRACE_S * 1000
        due = [path for path, since_ms in self._since_ms.items() if since_ms <= before_ms]
        for path in due:
            if path.exists():
                self._disk.remove(path)
            del self._since_ms[path]
        if due:
            self._disk.sync_folder(self._folder)
        return due
