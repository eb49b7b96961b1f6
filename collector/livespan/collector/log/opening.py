"""Opening the log: which segments there are, in which order, what they hold, and putting right what
a crash left behind.

    LOG/format.json                      format, version and uuid; written once
    LOG/<id>-<reuse>.seg                 segments; their order is that of the frames in them
    LOG/<id>.seg.tmp                     a segment that was being made; swept

In this order: sweep, scan every segment, order by first sequence, report damage and gaps, cut the
torn tail, then sync every segment with frames and the folder. The last is for a process that was
killed between write and sync: what is read from here on must be as durable as if it had been
acknowledged, and a name that the next frames rest on as durable as they.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from livespan.collector.disk import Disk
from livespan.collector.log.identity import read_or_write_format
from livespan.collector.log.scan import Damage, SegmentScan, read_segment, scan_segment
from livespan.collector.log.segment import (
    TEMPORARY_SUFFIX,
    LogProtections,
    Segment,
    open_segment,
    parse_name,
)

__all__ = ["OpenReport", "Opened", "open_folder"]


@dataclass(frozen=True, slots=True)
class OpenReport:
    """What opening the log has found.

    Attributes:
        frames: whole frames that were accepted.
        records: records in them.
        cut: where a torn tail was cut, as `path@offset`; empty where there was none. What was cut
            was never acknowledged, unless the disk damaged the very last frame: the two cannot be
            told apart.
        damages: what is not as it was written, in no order.
    """

    frames: int
    records: int
    cut: tuple[str, ...]
    damages: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A log's folder as it was found: segments with frames in their order, and those without."""

    uuid: UUID
    segments: list[Segment]
    spares: list[Segment]
    last_id: int
    report: OpenReport


def open_folder(
    folder: Path,
    disk: Disk,
    segment_bytes: int,
    protections: LogProtections,
    new_uuid: Callable[[], UUID],
) -> Opened:
    """Make or open the log in `folder`.

    Raises:
        OSError: the disk refused.
        Damaged, InvalidInput: see `read_or_write_format`.
    """
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        disk.sync_folder(folder.parent)
    names = sorted(os.listdir(folder))
    damages: list[Damage] = []
    uuid = read_or_write_format(folder, names, disk, new_uuid, damages)
    every: list[Segment] = []
    scans: dict[int, SegmentScan] = {}
    # One buffer for all segments: making 64 MiB of it costs three times as much as reading them.
    buffer = bytearray()
    for name in names:
        if name.endswith(TEMPORARY_SUFFIX):
            disk.remove(folder / name)
        elif (parsed := parse_name(name)) is not None:
            segment = open_segment(folder / name, *parsed, uuid, protections)
            every.append(segment)
            scans[segment.id] = _scan(segment, buffer, damages)
    with_frames = sorted((each for each in every if each.first_seq), key=lambda each: (each.first_seq, each.id))
    segments = _in_rising_order(with_frames, damages)
    spares = [each for each in every if not scans[each.id].first_seq]
    end_seq = segments[-1].end_seq if segments else 0
    lost = [(each.path, scans[each.id]) for each in spares if scans[each.id].is_torn_below(end_seq)]
    damages += [Damage(path, scan.end_offset, 0, scan.torn_seq, 0) for path, scan in lost]
    cut = [_cut(each, disk) for each in (*segments[-1:], *spares) if scans[each.id].torn]
    for segment in segments:
        disk.sync_file(segment.fd, segment.path)
    odd = [each for each in spares if each.size_bytes != segment_bytes]
    for segment in odd:
        os.close(segment.fd)
        disk.remove(segment.path)
    disk.sync_folder(folder)
    return Opened(
        uuid,
        segments,
        [each for each in spares if each not in odd],
        max((each.id for each in every), default=0),
        OpenReport(
            frames=sum(len(each.offsets) for each in segments),
            records=sum(scans[each.id].records for each in segments),
            cut=tuple(cut),
            damages=tuple(damages),
        ),
    )


def _scan(segment: Segment, buffer: bytearray, damages: list[Damage], floor_seq: int = 0) -> SegmentScan:
    if len(buffer) != segment.size_bytes:
        buffer[:] = bytes(segment.size_bytes)
    unreadable = read_segment(segment.fd, buffer)
    scan = scan_segment(buffer, segment.path, segment.accepts, floor_seq)
    segment.take_scan(scan)
    damages += scan.damages
    damages += [Damage(segment.path, offset, 4096, 0, 0) for offset in unreadable]
    return scan


def _in_rising_order(found: list[Segment], damages: list[Damage]) -> list[Segment]:
    """Return the segments whose sequences rise from one to the next, and report where records are
    missing between them.
    """
    segments: list[Segment] = []
    for segment in found:
        before = segments[-1] if segments else None
        if before is not None and segment.first_seq < before.end_seq:
            # No crash leaves this behind; a file put back from a copy does. What rises is read, the
            # rest is left on the disk.
            damages.append(Damage(segment.path, 0, segment.end_offset, segment.first_seq, 0))
            if not _scan(segment, bytearray(), damages, before.end_seq).offsets:
                os.close(segment.fd)
                continue
        if before is not None and segment.first_seq > before.end_seq:
            missing = segment.first_seq - before.end_seq
            damages.append(Damage(before.path, before.end_offset, 0, before.end_seq, missing))
        segments.append(segment)
    return segments


def _cut(segment: Segment, disk: Disk) -> str:
    segment.cut(disk)
    return f"{segment.path}@{segment.end_offset}"
