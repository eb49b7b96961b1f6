"""The log's segments, every frame of them, read without opening the log: that would cut torn tails and sync."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from livespan.collector.log.frame import HEADER_SIZE, MAGIC, frame_prefix, read_header
from livespan.collector.log.scan import Damage, SegmentScan, read_segment, scan_segment
from livespan.collector.log.segment import parse_name
from livespan.proto.verified import Fault

__all__ = ["LogReading", "read_log"]

_LOOKS: Final = 4
_PAUSE_S: Final = 0.05
_LOST: Final = (
    "What is behind it is read. If these records were published they are in the lake; keep the file and look at the "
    "disk (dmesg)."
)
_FORMAT: Final = "Put format.json back from a copy; without it the segments cannot be told from another log's."


class _Format(msgspec.Struct, frozen=True):
    format: str
    version: int
    uuid: UUID


@dataclass(slots=True)
class LogReading:
    """What was found. `first_seq` is 0 where there is no frame; `end_seq` is one above the last record."""

    uuid: str = ""
    segments: int = 0
    frames: int = 0
    records: int = 0
    first_seq: int = 0
    end_seq: int = 0
    last: Path | None = None
    faults: list[Fault] = field(default_factory=list[Fault])
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _Scanned:
    path: Path
    scan: SegmentScan
    unreadable: list[int]
    strange: bool


def read_log(folder: Path, *, served: bool) -> LogReading:
    """Read a log whole. Beside a collector, what looks wrong is read again a few times before it counts."""
    reading = LogReading()
    for look in range(_LOOKS if served else 1):
        if look:
            time.sleep(_PAUSE_S)
        before = _segment_names(folder)
        reading = _read(folder, before, served=served)
        if not reading.faults and _segment_names(folder) == before:
            break
    return reading


def _segment_names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if parse_name(name) is not None)
    except FileNotFoundError:
        return []


def _read(folder: Path, names: list[str], *, served: bool) -> LogReading:
    reading = LogReading()
    path = folder / "format.json"
    if not names and not path.exists():
        reading.notes.append("There is no log yet.")
        return reading
    try:
        uuid = msgspec.json.decode(path.read_bytes(), type=_Format).uuid
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        reading.faults.append(Fault(str(path), None, f"It does not say whose log this is: {error}.", _FORMAT))
        return reading
    reading.uuid = str(uuid)
    scanned: list[_Scanned] = []
    buffer = bytearray()
    for name in names:
        try:
            scanned.append(_scan(folder / name, uuid, buffer))
        except FileNotFoundError:
            continue  # freed since the folder was listed; the listing is compared again
        except OSError as error:
            hint = "Look at the disk (dmesg), or run as the home's owner."
            reading.faults.append(Fault(str(folder / name), None, f"It cannot be read: {error.strerror}.", hint))
    reading.segments = len(scanned)
    for one in scanned:
        reading.faults += [_fault(damage) for damage in one.scan.damages]
        reading.faults += [
            Fault(str(one.path), offset, "The disk does not give this block.", _LOST) for offset in one.unreadable
        ]
        if one.strange:
            what = "Its first frame is not of the log that format.json names: one of the two was changed."
            reading.faults.append(Fault(str(one.path), 8, what, _FORMAT))
    _join(reading, sorted((one for one in scanned if one.scan.first_seq), key=lambda one: one.scan.first_seq))
    _tails(reading, scanned, served=served)
    return reading


def _scan(path: Path, uuid: UUID, buffer: bytearray) -> _Scanned:
    parsed = parse_name(path.name)
    assert parsed is not None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if len(buffer) != size:
            buffer[:] = bytes(size)
        unreadable = read_segment(fd, buffer)
    finally:
        os.close(fd)
    scan = scan_segment(buffer, path, frame_prefix(uuid, parsed[1]))
    strange = False
    if not scan.first_seq and len(buffer) >= HEADER_SIZE and buffer.startswith(MAGIC):
        strange = read_header(buffer, 0).uuid != uuid.bytes
    return _Scanned(path, scan, unreadable, strange)


def _join(reading: LogReading, ordered: list[_Scanned]) -> None:
    """Take the segments in the order of their frames, and note where the sequence has a gap or goes back."""
    for one in ordered:
        scan = one.scan
        reading.frames += len(scan.offsets)
        reading.records += scan.records
        if reading.last is None:
            reading.first_seq = scan.first_seq
        elif scan.first_seq < reading.end_seq:
            what = f"It holds records from {scan.first_seq} on, which another segment holds too."
            reading.faults.append(Fault(str(one.path), 0, what, "Remove the file if it was put back from a copy."))
        elif scan.first_seq > reading.end_seq:
            missing = scan.first_seq - reading.end_seq
            what = f"Records {reading.end_seq} to {scan.first_seq - 1} ({missing}) are missing before this segment."
            reading.faults.append(Fault(str(one.path), 0, what, _LOST))
        reading.end_seq = max(reading.end_seq, scan.end_seq)
        reading.last = one.path


def _tails(reading: LogReading, scanned: list[_Scanned], *, served: bool) -> None:
    for one in scanned:
        if not one.scan.torn:
            continue
        place = f"{one.path}@{one.scan.end_offset}"
        if one.scan.is_torn_below(reading.end_seq) or (one.scan.first_seq and one.path != reading.last):
            what = "A frame that is not whole ends the segment, and later ones follow."
            reading.faults.append(Fault(str(one.path), one.scan.end_offset, what, _LOST))
        elif not served:
            reading.notes.append(
                f"{place}: a frame that is not whole ends the log. It was under way when the collector died and "
                "was never acknowledged, or the disk damaged it: the two cannot be told apart. The next start "
                "cuts it off."
            )


def _fault(damage: Damage) -> Fault:
    missing = f" {damage.missing_records} records from {damage.first_seq} on are missing." if damage.first_seq else ""
    what = f"{damage.size_bytes} bytes are no whole frame: a checksum or a sequence does not hold.{missing}"
    return Fault(str(damage.path), damage.offset, what, _LOST)
