"""What a log is to the rest of the collector: the protocol, and the values that cross it.

The log is a sequence of frames; a frame is the bytes of one OTLP request and covers `count`
records, whose `log_seq` are `first_seq .. first_seq + count - 1`. Sequences start at 1, rise by one
per record, and are never given twice to acknowledged records. The log does not look into a frame.
Nothing here knows of files, so that another log can stand in this one's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol
from uuid import UUID

import msgspec

__all__ = ["Appended", "Entry", "Faults", "Frame", "FrameRef", "Log", "LogReader", "no_faults"]

Faults = Callable[[str], None]
"""Called with the name of a step as it is passed; tests stop, kill or cut the power there."""


def no_faults(step: str) -> None:
    """What a log in production calls at each step."""


class Entry(msgspec.Struct, frozen=True):
    """Something to append: the bytes of a request, and how many records it holds (1 or more)."""

    payload: bytes
    count: int


class FrameRef(msgspec.Struct, frozen=True, gc=False):
    """Where a frame lies. `reuse` tells apart the uses of one segment, so that an old reference
    finds nothing, not something else.

    Attributes:
        segment_id: which segment.
        reuse: which use of that segment.
        offset: bytes from the segment's start to the frame's.
        length: bytes of the payload.
    """

    segment_id: int
    reuse: int
    offset: int
    length: int


class Appended(msgspec.Struct, frozen=True):
    """An acknowledged frame: it survives the machine."""

    ref: FrameRef
    first_seq: int
    count: int


class Frame(msgspec.Struct, frozen=True):
    """A frame that was read back."""

    ref: FrameRef
    first_seq: int
    count: int
    payload: bytes


class LogReader(Protocol):
    """Reads frames by reference; segments that it has touched are not recycled until it is closed.
    One thread at a time.
    """

    def pin(self, ref: FrameRef) -> None:
        """Keep the frame's segment (and so every later one) until this reader is closed.

        Raises:
            NotFound: the segment was recycled.
            Closed: the log is closed.
        """
        ...

    def read(self, ref: FrameRef) -> bytes:
        """Pin the frame's segment and return the payload, checked.

        Raises:
            NotFound, Closed: as `pin`.
            Damaged: the bytes are not those that were appended.
        """
        ...

    def close(self) -> None:
        """Let go of every segment. May be called twice."""
        ...

    def __enter__(self) -> LogReader: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Log(Protocol):
    """An append-only sequence of frames. Whoever opened it closes it, after its committer and its
    readers.

    `append` is called by one thread at a time (the committer sees to it), everything else by any.
    """

    @property
    def uuid(self) -> UUID:
        """Names this log for good; the tables' watermarks carry it."""
        ...

    @property
    def next_seq(self) -> int:
        """The `log_seq` that the next record will get; every record below it is acknowledged or was
        never appended.
        """
        ...

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Append all entries and return when they survive the machine: all of them, or an error for
        all.

        Raises:
            Unavailable: there is no room (the log goes on once there is), or a write or sync failed
                (it must be opened anew).
            Closed: the log is closed.
        """
        ...

    def frames(self, from_seq: int) -> Iterator[Frame]:
        """Yield, in order, every frame with a record at or above `from_seq` that was acknowledged
        when the first is asked for.

        A frame found damaged is skipped and reported, as at open. Segments are pinned until they
        have been passed.
        """
        ...

    def reader(self) -> LogReader:
        """Return a reader; the caller closes it."""
        ...

    def recycle(self, below_seq: int) -> int:
        """Give room back that holds only records below `below_seq`; return how many segments were
        freed.

        Goes from the oldest on and stops at the first segment that is pinned or still needed, so
        the log never has a hole; the newest acknowledged frame always stays, so sequences never
        start again.

        Raises:
            Unavailable: the disk refused; nothing that is needed was lost.
        """
        ...

    def close(self) -> None:
        """Close files and stop threads. What was acknowledged is already durable. May be called
        twice.
        """
        ...
