"""The log in files of one folder: appending, reading back, recycling. The layout is frame.py's,
opening is opening.py's.

    append:  place every frame ─▶ write ─▶ fdatasync ─▶ now, and only now, the frames count
             (takes segments)     named steps: before_write, after_write, after_sync
    recycle: oldest first, while wholly below and not pinned:
             rename (reuse + 1) ─▶ sync folder ─▶ spare

After a failed write or sync the log is *poisoned*: the kernel may have dropped the pages and called
them clean, so a second sync that succeeds would prove nothing. Reading goes on, appending does not
until the log is opened anew. A full disk is met before anything is written, when a segment cannot
be made, and poisons nothing.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from livespan.collector.disk import Disk, SystemDisk, write_all
from livespan.collector.log.frame import frame_size
from livespan.collector.log.opening import Opened, OpenReport, open_folder
from livespan.collector.log.placement import Placement, SegmentWrite
from livespan.collector.log.protocol import Appended, Entry, Faults, Frame, FrameRef, no_faults
from livespan.collector.log.reader import SegmentReader
from livespan.collector.log.scan import Damage
from livespan.collector.log.segment import LogProtections, Segment
from livespan.collector.log.spares import SegmentMaker, Spares
from livespan.collector.log.trouble import closed, damage_facts, refused
from livespan.collector.notices import Notices
from livespan.proto.clock import random_uuid
from livespan.proto.errors import Damaged, NotFound, Unavailable

__all__ = ["FileLog", "LogStats", "open_log"]

_DEFAULT_SEGMENT_BYTES: Final = 64 << 20
_BLOCK: Final = 4096


def open_log(
    folder: Path,
    *,
    segment_bytes: int = _DEFAULT_SEGMENT_BYTES,
    disk: Disk | None = None,
    faults: Faults = no_faults,
    protections: LogProtections | None = None,
    new_uuid: Callable[[], UUID] = random_uuid,
    spares_ahead: int = 1,
    spares_kept: int = 2,
) -> FileLog:
    """Open the log in `folder`, or make it; the caller closes it. That no other process has it open
    is the home's lock's care.

    Args:
        folder: made (0700) where it is not there.
        segment_bytes: size of new segments, a multiple of 8; a larger frame gets a segment of its
            own.
        disk: the seam for tests that cut the power.
        faults: called at each named step.
        protections: what `LogProtections` says; never given outside the mutation run.
        new_uuid: makes a new log's uuid.
        spares_ahead: how many segments are made before they are needed.
        spares_kept: how many freed segments are kept; more are removed from the disk.

    Raises:
        Unavailable: the disk refused.
        Damaged, InvalidInput: the folder holds no log that can be read; see `open_folder`.
    """
    seam = SystemDisk() if disk is None else disk
    protection = LogProtections() if protections is None else protections
    try:
        opened = open_folder(folder, seam, segment_bytes, protection, new_uuid)
    except OSError as error:
        raise refused("the log cannot be opened", folder, error) from error
    maker = SegmentMaker(seam, folder, opened.uuid, protection, faults)
    spares = Spares(
        maker,
        opened.spares,
        segment_bytes=segment_bytes,
        next_id=opened.last_id + 1,
        ahead=spares_ahead,
        keep=max(spares_kept, spares_ahead),
    )
    return FileLog(maker, opened, spares, segment_bytes)


@dataclass(frozen=True, slots=True)
class LogStats:
    """What a log holds on disk, and what became of it in this life.

    Attributes:
        segments, segment_bytes: files with frames, and their size.
        frame_bytes: how much of that frames take.
        spares: files that are ready to be written.
        recycled: segments that were freed.
        failed_spares: how often none could be made ahead.
        damages: damaged places that were met.
        poisoned: whether nothing can be appended until it is opened anew.
    """

    segments: int
    segment_bytes: int
    frame_bytes: int
    spares: int
    recycled: int
    failed_spares: int
    damages: int
    poisoned: bool


class FileLog:
    """A `Log` in files.

    Attributes:
        report: what opening it has found.
    """

    def __init__(self, maker: SegmentMaker, opened: Opened, spares: Spares, segment_bytes: int) -> None:
        self.report: OpenReport = opened.report
        self._maker = maker
        self._disk = maker.disk
        self._faults = maker.faults
        self._spares = spares
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._recycling = threading.Lock()
        self._segments = opened.segments
        self._by_id = {segment.id: segment for segment in opened.segments}
        self._next_seq = opened.segments[-1].end_seq if opened.segments else 1
        self._damages = list(opened.report.damages)
        self._poison: Unavailable | None = None
        self._closed = False
        self._recycled = 0
        self._notices = Notices("log")

    @property
    def uuid(self) -> UUID:
        return self._maker.uuid

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing is taken any more, None while all is well: what a failed sync left on the disk is not known."""
        return self._poison

    @property
    def next_seq(self) -> int:
        return self._next_seq

    @property
    def damages(self) -> tuple[Damage, ...]:
        """Every damaged place met so far, at open and since."""
        with self._lock:
            return tuple(self._damages)

    def stats(self) -> LogStats:
        """Return what there is to count."""
        with self._lock:
            return LogStats(
                segments=len(self._segments),
                segment_bytes=sum([segment.size_bytes for segment in self._segments]),
                frame_bytes=sum([segment.end_offset for segment in self._segments]),
                spares=len(self._spares),
                recycled=self._recycled,
                failed_spares=self._spares.failures,
                damages=len(self._damages),
                poisoned=self._poison is not None,
            )

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        if self._closed:
            raise closed(self._maker.folder)
        if self._poison is not None:
            raise self._poison
        placed = Placement(self._segments[-1] if self._segments else None, self._next_seq)
        try:
            for entry in entries:
                size = frame_size(len(entry.payload))
                if not placed.fits(size):
                    placed.enter(self._spares.take(self._size_for(size)))
                placed.add(entry, size)
        except OSError as error:
            self._give_back(placed)
            raise refused("no segment can be made for new records", self._maker.folder, error) from error
        self._make_durable(placed)
        with self._lock:
            for write in placed.writes:
                self._count(write)
            self._next_seq = placed.next_seq
        return placed.appended

    def frames(self, from_seq: int) -> Iterator[Frame]:
        with self._lock:
            self._check_open()
            todo = [(each, len(each.offsets)) for each in self._segments if each.end_seq > from_seq]
            for segment, _ in todo:
                segment.pins += 1
        todo.reverse()
        try:
            while todo:
                segment, count = todo[-1]
                yield from self._frames_of(segment, count, from_seq)
                todo.pop()
                self._unpin(segment)
        finally:
            for segment, _ in todo:
                self._unpin(segment)

    def reader(self) -> SegmentReader:
        return SegmentReader(self._pin, self._unpin, self._met_damaged)

    def recyclable(self, below_seq: int) -> int:
        """Return the `log_seq` below which `recycle(below_seq)` would let records go now, 0 where it would free
        nothing.
        """
        with self._lock:
            upto = 0
            for segment in self._segments[:-1]:
                if segment.end_seq > below_seq or segment.pins:
                    break
                upto = segment.end_seq
            return upto

    def recycle(self, below_seq: int) -> int:
        freed = 0
        with self._recycling:
            while (segment := self._take_oldest(below_seq)) is not None:
                try:
                    self._free(segment)
                except OSError as error:
                    raise refused("a segment cannot be recycled", segment.path, error) from error
                freed += 1
                self._recycled += 1
        return freed

    def go_on_above(self, seq: int) -> None:
        """Give the next record a sequence above `seq`, up to which the lake accounts for this log: called before
        anything is appended. Where the log ends below it has lost its end, and a sequence that was used again would be
        taken for a record that is published.
        """
        with self._lock:
            missing = seq + 1 - self._next_seq
            if missing <= 0:
                return
            last = self._segments[-1] if self._segments else None
            path, offset = (last.path, last.end_offset) if last else (self._maker.folder, 0)
            damage = Damage(path, offset, 0, self._next_seq, missing)
            self._damages.append(damage)
            self._next_seq = seq + 1
        self._notices.error("log ends below its lake", **damage_facts(damage))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._spares.close()
        with self._lock:
            for segment in self._segments:
                if not segment.pins:
                    os.close(segment.fd)

    def _size_for(self, frame_bytes: int) -> int:
        return self._segment_bytes if frame_bytes <= self._segment_bytes else -(-frame_bytes // _BLOCK) * _BLOCK

    def _make_durable(self, placed: Placement) -> None:
        path = self._maker.folder
        try:
            self._faults("log.before_write")
            for write in placed.writes:
                path = write.segment.path
                write_all(self._disk, write.segment.fd, path, write.buffers, write.start)
            self._faults("log.after_write")
            if self._maker.protections.sync_before_ack:
                for write in placed.writes:
                    path = write.segment.path
                    self._disk.sync_file(write.segment.fd, path)
            self._faults("log.after_sync")
        except OSError as error:
            self._poison = Unavailable(
                f"the log could not be written ({error.strerror}); it takes nothing until it is opened anew",
                subject=str(path),
                hint="Look at the disk (dmesg, df). The collector leaves, to be started again; clients send again.",
            )
            self._give_back(placed)
            self._notices.error("log failed", path=str(path), error=str(error), hint=self._poison.hint)
            raise self._poison from error

    def _count(self, write: SegmentWrite) -> None:
        segment = write.segment
        if write.new:
            segment.first_seq = write.first_seq
            self._segments.append(segment)
            self._by_id[segment.id] = segment
        segment.offsets.extend(write.offsets)
        segment.end_seq = write.end_seq
        segment.end_offset = write.end

    def _give_back(self, placed: Placement) -> None:
        for write in placed.writes:
            if write.new:
                try:
                    self._spares.give(write.segment)
                except OSError:
                    # The error that led here is told; the segment is sorted out at the next open.
                    continue

    def _frames_of(self, segment: Segment, count: int, from_seq: int) -> Iterator[Frame]:
        offsets = segment.offsets
        start = 0
        if segment.first_seq < from_seq:
            try:
                start = bisect.bisect_right(offsets, from_seq, 0, count, key=segment.seq_at) - 1
            except Damaged:
                start = 0
        for index in range(max(start, 0), count):
            try:
                frame = segment.frame_at(offsets[index])
            except Damaged:
                self._report(segment, index)
                continue
            if frame.first_seq + frame.count > from_seq:
                yield frame

    def _report(self, segment: Segment, index: int) -> None:
        offset = segment.offsets[index]
        end = segment.offsets[index + 1] if index + 1 < len(segment.offsets) else segment.end_offset
        self._note(Damage(segment.path, offset, end - offset, 0, 0))

    def _met_damaged(self, segment: Segment, ref: FrameRef) -> None:
        self._note(Damage(segment.path, ref.offset, frame_size(ref.length), 0, 0))

    def _note(self, damage: Damage) -> None:
        with self._lock:
            if damage not in self._damages:
                self._damages.append(damage)
                self._notices.error("segment damaged", **damage_facts(damage))

    def _pin(self, ref: FrameRef) -> Segment:
        with self._lock:
            self._check_open()
            segment = self._by_id.get(ref.segment_id)
            if segment is None or segment.reuse != ref.reuse:
                raise NotFound(
                    "the segment was recycled: all that it held is published",
                    subject=f"segment {ref.segment_id}, use {ref.reuse}",
                    hint="Read it from the lake.",
                )
            segment.pins += 1
            return segment

    def _unpin(self, segment: Segment) -> None:
        with self._lock:
            segment.pins -= 1
            if self._closed and not segment.pins:
                os.close(segment.fd)

    def _take_oldest(self, below_seq: int) -> Segment | None:
        with self._lock:
            self._check_open()
            # The last segment stays: it holds the newest acknowledged frame, which says where
            # sequences go on.
            if len(self._segments) < 2:
                return None
            oldest = self._segments[0]
            if oldest.end_seq > below_seq or oldest.pins:
                return None
            del self._segments[0]
            del self._by_id[oldest.id]
            return oldest

    def _free(self, segment: Segment) -> None:
        same_size = segment.size_bytes == self._segment_bytes
        try:
            if same_size:
                segment.rename_for_reuse(self._disk)
            self._faults("log.recycle")
            if same_size:
                self._disk.sync_folder(self._maker.folder)
        except OSError:
            # Its name may not be durable, so it is not used again in this life; opening the log
            # sorts it out.
            os.close(segment.fd)
            raise
        self._spares.give(segment)
        if not same_size:
            self._disk.sync_folder(self._maker.folder)

    def _check_open(self) -> None:
        if self._closed:
            raise closed(self._maker.folder)
