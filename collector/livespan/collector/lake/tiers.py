"""Which files of a table are merged next: as many of a size as make one of the next size, so that a row is written anew
once for each size, and not with each publication.

    rows    1 ..... 8 ..... 64 ..... 512 ..... 4,096 ..... 32,768 ..... 131,072: large enough, left alone
    tier       0       1       2        3          4            5

Eight files of a tier are merged, with the smaller ones that lie between them; only neighbours are, in the order of
their watermarks, so that a merged file holds one stretch of time, and the runs of that time stand together. A table of
any age has at most a few dozen small files, and one large one for each 131,072 rows or 128 MB at the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

__all__ = ["FAN_IN", "MOST_ROWS", "RowLimit", "Sized", "next_merge"]

FAN_IN: Final = 8
_MOST_FILES: Final = 512
_LARGE_ROWS: Final = 131_072
_LARGE_BYTES: Final = 128 * 1024 * 1024
MOST_ROWS: Final = 2 * _LARGE_ROWS
"""What one step merges at most, but for the twice 128 MB that it also keeps to."""
_RELAX_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Sized:
    """A file by its size. `left_out`: it cannot be merged, whatever its size."""

    rows: int
    size_bytes: int
    left_out: bool = False

    @property
    def tier(self) -> int | None:
        """Which tier it is of; None where it is left alone."""
        if self.left_out or self.rows >= _LARGE_ROWS or self.size_bytes >= _LARGE_BYTES:
            return None
        tier, rows = 0, self.rows
        while rows >= FAN_IN:
            tier, rows = tier + 1, rows // FAN_IN
        return tier


def next_merge(files: Sequence[Sized], most_rows: int = MOST_ROWS) -> range | None:
    """Return which of these neighbours are to be merged now, smallest tier first and at most so many rows; None where
    nothing is.
    """
    tiers = [file.tier for file in files]
    for tier in sorted({each for each in tiers if each is not None}):
        start = 0
        while start < len(files):
            stretch = _stretch(files, tiers, start, tier, most_rows)
            if _worthwhile(files, tiers, stretch, tier):
                return stretch
            start = max(stretch.stop, start + 1)
    return None


def _stretch(files: Sequence[Sized], tiers: Sequence[int | None], start: int, tier: int, most_rows: int) -> range:
    """Return the neighbours from here on of at most this tier, as many as one step may take."""
    rows = size = 0
    stop = start
    while stop < len(files) and stop - start < _MOST_FILES:
        own = tiers[stop]
        if own is None or own > tier:
            break
        rows += files[stop].rows
        size += files[stop].size_bytes
        if stop > start and (rows > most_rows or size > 2 * _LARGE_BYTES):
            break
        stop += 1
    return range(start, stop)


def _worthwhile(files: Sequence[Sized], tiers: Sequence[int | None], stretch: range, tier: int) -> bool:
    if sum(tiers[each] == tier for each in stretch) >= FAN_IN:
        return True
    if len(stretch) == 1:
        return False
    merged = Sized(sum(files[each].rows for each in stretch), sum(files[each].size_bytes for each in stretch))
    return merged.tier is None


class RowLimit:
    """How many rows are merged at once: fewer where that failed, since they may be too wide to be sorted; and more
    again later, since it may have been the disk.

    Attributes:
        rows: at most so many.
    """

    def __init__(self) -> None:
        self.rows = MOST_ROWS
        self._changed_s = 0.0

    def halve(self) -> None:
        """Take fewer from now on."""
        self.rows //= 2
        self._changed_s = monotonic()

    def relax(self) -> None:
        """Take twice as many again, where an hour has passed since the last change."""
        if self.rows < MOST_ROWS and monotonic() - self._changed_s >= _RELAX_S:
            self.rows = min(MOST_ROWS, max(self.rows, 1) * 2)
            self._changed_s = monotonic()
