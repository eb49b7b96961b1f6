"""How long the oldest record of the hot tier has been there, without a time for each record.

Marks `(log_seq, since_s)` say that what is at or below `log_seq`, and above the mark before, came at `since_s` or
later. There is one for each second with news, and where they become too many, every second one goes: ages are told
too high then, never too low.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

__all__ = ["Ages"]

_STEP_S: Final = 1.0
_MARKS: Final = 2048


class Ages:
    """See the module. Not thread-safe; times are monotonic seconds."""

    __slots__ = ("_seqs", "_since_s")

    def __init__(self) -> None:
        self._seqs: list[int] = []
        self._since_s: list[float] = []

    def note(self, seq: int, now_s: float) -> None:
        """Note that everything up to `seq` is there now."""
        if self._since_s and now_s - self._since_s[-1] < _STEP_S:
            self._seqs[-1] = seq
            return
        self._seqs.append(seq)
        self._since_s.append(now_s)
        if len(self._seqs) == _MARKS:  # an even number: of each two, the later sequence and the earlier time
            self._seqs = self._seqs[1::2]
            self._since_s = self._since_s[::2]

    def forget_below(self, seq: int) -> None:
        """Drop marks that no record which is still there needs."""
        keep = bisect_left(self._seqs, seq)
        del self._seqs[:keep], self._since_s[:keep]

    def age_s(self, seq: int, now_s: float) -> float:
        """Return for how long, at most, the record `seq` has been there."""
        index = bisect_left(self._seqs, seq)
        return now_s - self._since_s[index] if index < len(self._seqs) else 0.0
