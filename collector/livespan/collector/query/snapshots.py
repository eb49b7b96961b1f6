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

    @property
    def left_out(self) -> Sequence[Path]:
        """Files that it lacks, since they are damaged."""
        ...


class Lake(Protocol):
    """Where snapshots come from; may be called from any thread."""

    @property
    def folders(self) -> Sequence[Path]:
        """Where the files of all snapshots are."""
        ...

    def snapshot(self, of: Collection[str] | None = None, *, content: bool = False, whole: bool = True) -> Snapshot:
        """Return what was recorded at this instant.

        Args:
            of: of these run ids at the least, and then without files that have no row of them; None: of all.
            content: what lies in `content` will be read, too, so its files are to be sound.
            whole: a damaged file is an error; else it is left out.

        Raises:
            Damaged: a file is.
        """
        ...
