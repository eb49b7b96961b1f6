"""What a read is over: the files and the unpublished records of one moment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from livespan.proto.record import Record

__all__ = ["Lake", "Snapshot"]


class Snapshot(Protocol):
    """What was recorded at one moment: each record is either in the files or in `hot`, never in both."""

    @property
    def nodes(self) -> Sequence[Path]: ...

    @property
    def content(self) -> Sequence[Path]: ...

    @property
    def hot(self) -> Sequence[Record]: ...

    @property
    def touched(self) -> Collection[str] | None:
        """Which plain runs have rows in `hot` or in files of other units; None where that is not known."""
        ...


class Lake(Protocol):
    """Where snapshots come from; may be called from any thread."""

    @property
    def folders(self) -> Sequence[Path]:
        """Where the files of all snapshots are."""
        ...

    def snapshot(self, of: Collection[str] | None = None) -> Snapshot:
        """Return what was recorded at this instant; of these run ids at the least, where they are given, and then
        without files that have no row of them.
        """
        ...
