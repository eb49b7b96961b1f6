"""Finding the frames of a segment when the log is opened: what is whole, what is damaged, and where
the log ends.

    | frame | frame | damaged | frame | torn | zeros, or frames of a former use |
                      skipped,  read    cut
                      reported

Reads bytes and decides; it changes nothing. A place that holds no whole frame is *damage* if a
whole frame follows it in the segment, or if it is one bit of a header away from a whole frame. Otherwise
it is the segment's end, which is *torn* if the start of a frame of this use stands there.
"""

from __future__ import annotations

import errno
import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from livespan.collector.log.frame import HEADER_SIZE, check_frame, frame_size, one_bit_off, read_header

__all__ = ["Damage", "SegmentScan", "read_segment", "scan_segment"]

_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in the log that does not hold what was written there.

    Attributes:
        path: the segment's file.
        offset: bytes from its start.
        size_bytes: how much was skipped; 0 where frames are missing without a trace.
        first_seq: the first `log_seq` that is missing; 0 where that cannot be told.
        missing_records: how many records are missing; 0 where that cannot be told.
    """

    path: Path
    offset: int
    size_bytes: int
    first_seq: int
    missing_records: int

    def __str__(self) -> str:
        lost = f", {self.missing_records} records from {self.first_seq} on are missing" if self.first_seq else ""
        return f"{self.path}@{self.offset}: {self.size_bytes} bytes damaged{lost}"


@dataclass(frozen=True, slots=True)
class SegmentScan:
    """What a segment holds.

    Attributes:
        offsets: where its whole frames are.
        records: how many these hold.
        first_seq: of its first frame; 0 where there is none.
        end_seq: one above its last record.
        end_offset: where its frames end.
        torn: the start of a frame of this use stands behind them.
        torn_seq: the first sequence that this start names, unchecked; 0 where it names none.
        damages: what is not as it was written.
    """

    offsets: array[int]
    records: int
    first_seq: int
    end_seq: int
    end_offset: int
    torn: bool
    torn_seq: int
    damages: list[Damage]

    def is_torn_below(self, end_seq: int) -> bool:
        """Return whether what is torn here was written before a frame that ends the log at `end_seq`: it is damage, for
        what a crash leaves torn is newer than all else.
        """
        return self.torn and 0 < self.torn_seq < end_seq


def read_segment(fd: int, data: bytearray) -> list[int]:
    """Fill `data` with the segment's bytes, read once.

    A plain read and not mmap: a bad block is then an error to report, and not a SIGBUS that kills
    the collector at every start.

    Returns:
        The offsets of blocks that the disk would not give; they read as zeros.
    """
    view = memoryview(data)
    bad: list[int] = []
    offset, step = 0, len(data)
    while offset < len(data):
        try:
            read = os.preadv(fd, [view[offset : offset + step]], offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            if step > _BLOCK:
                step = _BLOCK
                continue
            bad.append(offset)
            read = min(step, len(data) - offset)
            view[offset : offset + read] = bytes(read)
        if read == 0:
            # The file is shorter than it was; the rest reads as zeros, which hold no frame.
            view[offset:] = bytes(len(data) - offset)
            break
        offset += read
    return bad


def scan_segment(data: bytearray, path: Path, prefix: bytes, floor_seq: int = 0) -> SegmentScan:
    """Return the whole frames of `data` that start with `prefix`, whose sequence rises, and what is
    wrong between them.

    Frames below `floor_seq` are refused. A search for the prefix finds nothing but candidates:
    frames of another log or of a former use of the segment do not even match.
    """
    # Without the reuse number's zeros: a search through zeros for what ends in them takes 8 times
    # as long, and `check_frame` compares the whole prefix.
    needle = prefix.rstrip(b"\0")
    offsets = array("Q")
    damages: list[Damage] = []
    records = first_seq = 0
    next_seq = floor_seq
    end = position = torn_seq = 0
    torn = False
    with memoryview(data) as view:
        while position >= 0:
            header = check_frame(view, position, prefix) if position % 8 == 0 else None
            if header is None or header.first_seq < next_seq:
                if not torn and data.startswith(prefix, position):
                    torn, torn_seq = True, _named_seq(view, position)
                position = data.find(needle, position + 1)
                continue
            missing = header.first_seq - next_seq if first_seq else 0
            if position > end or missing:
                damages.append(Damage(path, end, position - end, next_seq if missing else 0, missing))
            first_seq = first_seq or header.first_seq
            next_seq = header.first_seq + header.records
            offsets.append(position)
            records += header.records
            position = end = position + frame_size(header.length)
            torn = False
        flipped = one_bit_off(view, end, prefix)
        if flipped is not None and flipped.first_seq >= next_seq:
            torn = False
            size = frame_size(flipped.length)
            damages.append(Damage(path, end, size, flipped.first_seq, flipped.records))
            first_seq = first_seq or flipped.first_seq
            next_seq = flipped.first_seq + flipped.records
            end += size
    return SegmentScan(offsets, records, first_seq, next_seq, end, torn, torn_seq if torn else 0, damages)


def _named_seq(view: memoryview, offset: int) -> int:
    return read_header(view, offset).first_seq if offset + HEADER_SIZE <= len(view) else 0
