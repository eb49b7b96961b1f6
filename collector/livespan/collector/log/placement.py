"""Where the frames of one append go: decided whole, before a byte is written.

So a disk that has no room for the last frame refuses the batch with nothing of it in the log.
Taking segments, writing and syncing are the log's.
"""

from __future__ import annotations

from livespan.collector.log.frame import encode_frame
from livespan.collector.log.protocol import Appended, Entry, FrameRef
from livespan.collector.log.segment import Segment

__all__ = ["Placement", "SegmentWrite"]


class SegmentWrite:
    """What one append writes into one segment: contiguous frames from `start` to `end`."""

    __slots__ = ("buffers", "end", "end_seq", "first_seq", "new", "offsets", "segment", "start")

    def __init__(self, segment: Segment, start: int, first_seq: int, new: bool) -> None:
        self.segment = segment
        self.start = self.end = start
        self.first_seq = self.end_seq = first_seq
        self.new = new
        self.buffers: list[bytes] = []
        self.offsets: list[int] = []


class Placement:
    """Where the frames of one append go, decided whole before anything is written."""

    __slots__ = ("appended", "next_seq", "writes")

    def __init__(self, active: Segment | None, next_seq: int) -> None:
        self.next_seq = next_seq
        self.appended: list[Appended] = []
        self.writes = [] if active is None else [SegmentWrite(active, active.end_offset, next_seq, new=False)]

    def fits(self, size_bytes: int) -> bool:
        if not self.writes:
            return False
        write = self.writes[-1]
        return write.end + size_bytes <= write.segment.size_bytes

    def enter(self, segment: Segment) -> None:
        if self.writes and not self.writes[-1].buffers:
            self.writes.pop()
        self.writes.append(SegmentWrite(segment, 0, self.next_seq, new=True))

    def add(self, entry: Entry, size_bytes: int) -> None:
        write = self.writes[-1]
        segment = write.segment
        first_seq = self.next_seq
        write.buffers += encode_frame(segment.prefix, first_seq, entry.count, entry.payload)
        write.offsets.append(write.end)
        ref = FrameRef(segment.id, segment.reuse, write.end, len(entry.payload))
        self.appended.append(Appended(ref, first_seq, entry.count))
        write.end += size_bytes
        self.next_seq = write.end_seq = first_seq + entry.count
