"""Reading frames by reference while the log goes on: a reader pins the segments that it touches.

A pin is a count on a segment, changed under the log's lock through the two functions that the log
hands over. A frame that is met damaged is told to the log, whoever asked for it and whatever they make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from livespan.collector.log.protocol import FrameRef
from livespan.collector.log.segment import Segment
from livespan.proto.errors import Damaged

__all__ = ["SegmentReader"]


class SegmentReader:
    """The file log's `LogReader`."""

    __slots__ = ("_damaged", "_pin", "_pinned", "_unpin")

    def __init__(
        self,
        pin: Callable[[FrameRef], Segment],
        unpin: Callable[[Segment], None],
        damaged: Callable[[Segment, FrameRef], None],
    ) -> None:
        self._pin = pin
        self._unpin = unpin
        self._damaged = damaged
        self._pinned: dict[tuple[int, int], Segment] = {}

    def pin(self, ref: FrameRef) -> None:
        self._segment(ref)

    def read(self, ref: FrameRef) -> bytes:
        segment = self._segment(ref)
        try:
            return segment.read_frame(ref.offset, ref.length).payload
        except Damaged:
            self._damaged(segment, ref)
            raise

    def close(self) -> None:
        while self._pinned:
            self._unpin(self._pinned.popitem()[1])

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _segment(self, ref: FrameRef) -> Segment:
        key = (ref.segment_id, ref.reuse)
        segment = self._pinned.get(key)
        if segment is None:
            segment = self._pinned[key] = self._pin(ref)
        return segment
