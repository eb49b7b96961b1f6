"""The agent's side's part of `livespan verify`: every record of every writer's spool, and what the collector refused.

A writer that lives goes on writing meanwhile; what is committed is whole at any instant, so nothing need wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from livespan.instrumentation.spool import WriterFolder, list_writers
from livespan.instrumentation.spool.layout import ACK, ACK_BYTES, HEADER_BYTES, Position, read_watermark
from livespan.instrumentation.spool.segment_reader import SegmentReader
from livespan.proto.errors import Damaged, LivespanError, NotFound
from livespan.proto.home import Home
from livespan.proto.verified import Fault, Verified

__all__ = ["verify"]

_READ_ON: Final = "The other records are read and sent; what is damaged here is lost if it was not acknowledged."
_WATERMARK: Final = "All that its segments hold is sent again, which does no harm."


@dataclass(slots=True)
class _Reading:
    writers: int = 0
    segments: int = 0
    records: int = 0
    waiting: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    notes: list[str] = field(default_factory=list[str])


def verify(home: Home) -> Iterator[Verified]:
    """Read the home's spool; nothing is changed or started."""
    reading = _Reading()
    try:
        writers = list_writers(home.spool)
    except LivespanError as error:
        reading.faults.append(Fault(error.subject or str(home.spool), None, f"{error.message}.", error.hint))
        writers = []
    for writer in writers:
        reading.writers += 1
        _read_writer(writer, reading)
        writer.close()
    refused = home.spool / "refused"
    kept = len(os.listdir(refused)) if refused.is_dir() else 0
    if kept:
        reading.notes.append(f"{kept} records that the collector refused for good are kept in {refused}.")
    checked = f"{reading.writers} writers, {reading.segments} segments, {reading.records} records"
    if reading.waiting:
        checked += f", {reading.waiting} of them not acknowledged yet"
    yield Verified("spool", checked, tuple(reading.faults), tuple(reading.notes))


def _read_writer(writer: WriterFolder, reading: _Reading) -> None:
    try:
        _ = writer.meta
        watermark = _watermark(writer.path / ACK)
    except NotFound:
        return  # acknowledged whole and removed since the spool was listed
    except Damaged as error:
        reading.faults.append(_fault(error))
        watermark = Position(0, 0)
    for number in writer.segments():
        try:
            with writer.open(number) as segment:
                reading.segments += 1
                _read_segment(segment, watermark, reading)
        except NotFound:
            continue
        except Damaged as error:
            reading.faults.append(_fault(error))


def _watermark(path: Path) -> Position:
    """Read the watermark without mapping it, which would make the file where it is missing.

    Raises:
        NotFound: the folder is gone. Damaged: the file is.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if not path.parent.exists():
            raise NotFound("the writer's folder is gone", subject=str(path)) from error
        raise Damaged("the watermark is missing", subject=str(path), hint=_WATERMARK) from error
    except OSError as error:
        raise Damaged(f"the watermark cannot be read ({error.strerror})", subject=str(path)) from error
    told = len(data) == ACK_BYTES and read_watermark(memoryview(data).cast("Q"))
    word = Position.unpack(int.from_bytes(data[:8], "little"))
    if told != word or any(data[16:]):
        raise Damaged("the watermark's page is not as it is written", subject=f"{path}@0", hint=_WATERMARK)
    return word


def _read_segment(segment: SegmentReader, watermark: Position, reading: _Reading) -> None:
    """Read every record of a segment; behind a damaged one it goes on at the next whole one."""
    offset = HEADER_BYTES
    ends = {0, HEADER_BYTES}
    damaged = True
    while damaged:
        damaged = False
        try:
            for entry in segment.entries(offset):
                reading.records += 1
                reading.waiting += entry.end > watermark
                offset = entry.next_offset
                ends.add(offset)
        except Damaged as error:
            reading.faults.append(_fault(error))
            at = int(error.subject.rpartition("@")[2])
            offset = segment.after_damage(at)
            ends.add(offset)
            damaged = offset > at
    if watermark.segment == segment.number and watermark.offset not in ends:
        what = f"It says that segment {segment.number} is sent up to byte {watermark.offset}, where no record ends."
        reading.faults.append(Fault(str(segment.path.parent / ACK), 0, what, _WATERMARK))


def _fault(error: Damaged) -> Fault:
    path, at, offset = error.subject.rpartition("@")
    known = at and offset.isdigit()
    return Fault(
        path if known else error.subject,
        int(offset) if known else None,
        f"{error.message[0].upper()}{error.message[1:]}.",
        error.hint or _READ_ON,
    )
