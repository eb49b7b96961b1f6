"""Which records were seen already, in bounded memory: a record that comes twice is the same record.

A writer numbers its records, so what was seen of it is a few intervals. A span without a writer is known by a digest
of what it says; the newest of those are kept, since a client that tries again does so within seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import msgspec

from livespan.proto.record import Large, Record

__all__ = ["Intervals", "Seen"]

_WRITERS: Final = 100_000
_SPANS: Final = 100_000


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
        self._writers: OrderedDict[str, Intervals] = OrderedDict()
        self._spans: OrderedDict[bytes, None] = OrderedDict()
        self._last = ""
        self._last_intervals = Intervals()

    def add(self, record: Record) -> bool:
        """Note a record and return whether it is a new one."""
        writer = record.writer
        if not writer:
            return self._add_span(_fingerprint(record))
        if writer != self._last:
            intervals = self._writers.get(writer)
            if intervals is None:
                intervals = self._writers[writer] = Intervals()
                if len(self._writers) > _WRITERS:
                    self._writers.popitem(last=False)
            else:
                self._writers.move_to_end(writer)
            self._last, self._last_intervals = writer, intervals
        return self._last_intervals.add(record.writer_seq)

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
