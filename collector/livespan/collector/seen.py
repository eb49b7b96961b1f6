"""Which records were seen already, in bounded memory: a record that comes twice is the same record.

A writer numbers its records, so what was seen of it in a run is a few intervals. A writer's name counts within one run
alone, as in the view `records`: somebody else's that is the same hides nothing. A span without a writer is known by a
digest of what it says. The newest of both are kept, since who sends again does so within seconds; a record that is
taken twice all the same is one record wherever it is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec

from livespan.proto.record import Large, Record

__all__ = ["Intervals", "Seen"]

_WRITERS: Final = 100_000
_SPANS: Final = 100_000
_INTERVALS: Final = 200_000
"""Of all writers together; numbers with gaps between them cost an interval each."""
_Writer: TypeAlias = tuple[str, str, str, int]


class Intervals:
    """A set of integers as disjoint intervals, `first <= n < end`."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        """The number of intervals."""
        return len(self._firsts)

    def add(self, number: int) -> bool:
        """Add a number and return whether it was not there."""
        firsts, ends = self._firsts, self._ends
        if ends and ends[-1] == number:  # the next of its writer, as nearly all are
            ends[-1] += 1
            return True
        at = bisect_right(firsts, number)
        if at and number < ends[at - 1]:
            return False
        joins_before = at > 0 and ends[at - 1] == number
        joins_after = at < len(firsts) and firsts[at] == number + 1
        if joins_before and joins_after:
            ends[at - 1] = ends.pop(at)
            del firsts[at]
        elif joins_before:
            ends[at - 1] += 1
        elif joins_after:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            ends.insert(at, number + 1)
        return True


class Seen:
    """The records that were seen; not thread-safe."""

    def __init__(self) -> None:
        self._writers: OrderedDict[_Writer, Intervals] = OrderedDict()
        self._spans: OrderedDict[bytes, None] = OrderedDict()
        self._last: _Writer = ("", "", "", 0)
        self._last_intervals = Intervals()
        self._count = 0

    def add(self, record: Record) -> bool:
        """Note a record and return whether it is a new one."""
        if not record.writer:
            return self._add_span(_fingerprint(record))
        writer = (record.writer, record.run_id, record.project, record.generation)
        if writer != self._last:
            self._last, self._last_intervals = writer, self._of(writer)
        intervals = self._last_intervals
        before = len(intervals)
        new = intervals.add(record.writer_seq)
        self._count += len(intervals) - before
        if self._count > _INTERVALS:
            self._forget()
        return new

    def _of(self, writer: _Writer) -> Intervals:
        """Return what was seen of a writer, which is the newest from here on."""
        intervals = self._writers.get(writer)
        if intervals is None:
            intervals = self._writers[writer] = Intervals()
            if len(self._writers) > _WRITERS:
                self._count -= len(self._writers.popitem(last=False)[1])
        else:
            self._writers.move_to_end(writer)
        return intervals

    def _forget(self) -> None:
        """Forget the oldest writers, or, where one alone has so many intervals, what was seen of it."""
        while self._count > _INTERVALS // 2:
            self._count -= len(self._writers.popitem(last=False)[1])
        if self._last not in self._writers:
            self._last = ("", "", "", 0)

    def _add_span(self, fingerprint: bytes) -> bool:
        if fingerprint in self._spans:
            return False
        self._spans[fingerprint] = None
        if len(self._spans) > _SPANS:
            self._spans.popitem(last=False)
        return True


def _fingerprint(record: Record) -> bytes:
    """Return a digest of all that a span says. Where it lies in its request may differ from one try to the next, so a
    large value
    counts by its size.
    """
    raw = record.raw
    said = msgspec.structs.replace(
        record,
        log_seq=0,
        raw=b"%d" % raw.size_bytes if isinstance(raw, Large) else raw,
        attributes={
            name: value.size_bytes if isinstance(value, Large) else value for name, value in record.attributes.items()
        },
    )
    return blake2b(msgspec.msgpack.encode(said), digest_size=16).digest()
