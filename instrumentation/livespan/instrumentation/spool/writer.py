"""One writer: a folder, its lock, and the stream of segments that records are appended to. Not thread-safe:
spool.py is.

    append ── fits, promises covered ──> copy, digest, commit word          (no syscall)
       └───── else ──> the spare segment, made ahead by the keeper ──> roll
                 └── none ──> make a small one here ──> refused: 0, `refusal` says why

The keeper is a thread, and a busy agent keeps it from the GIL for hundreds of milliseconds at times. So its segment is
numbered well ahead: small ones that the agent's thread makes meanwhile come before it in the stream.

Promises. A record may *reserve* room for a later one that *consumes* it. What always holds: all outstanding
promises fit into the free end of the current segment, or all of them fit into the spare. So a record that consumes
no less than it takes finds room that is already on the disk, whatever caps and disk say by then; a larger one may
pass the caps, not the disk.

Re-entrancy. An append may be cut short at any bytecode by an exception out of a signal handler. The commit word is
stored before `end` moves and `_cut_short` stands meanwhile, so the next append sees it, keeps what was committed
and leaves that segment.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import xxhash

from livespan.instrumentation.spool import libc
from livespan.instrumentation.spool.folder import make_writer_folder, remove_folder
from livespan.instrumentation.spool.layout import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    RECORD_BYTES,
    Entry,
    Position,
    WriterMeta,
    read_entry,
    record_bytes,
    write_watermark,
)
from livespan.instrumentation.spool.quota import Quota, Refusal
from livespan.instrumentation.spool.segment import Segment
from livespan.proto.clock import random_hex
from livespan.proto.errors import Damaged, InvalidInput

__all__ = ["FIRST_SEGMENT_BYTES", "MAX_SEGMENT_BYTES", "FaultHook", "SpoolWriter", "no_fault"]

FIRST_SEGMENT_BYTES: Final = 1 << 20
MAX_SEGMENT_BYTES: Final = 16 << 20
_AHEAD: Final = 64
"""By how much the number of a keeper's segment is above the last one's; numbers may have gaps."""

FaultHook = Callable[[str], None]
"""Called at named points off the ordinary path; a test kills the process there."""

_digest = xxhash.xxh3_64_intdigest


def no_fault(point: str) -> None:
    """The hook that does nothing."""


def no_nudge() -> None:
    """Nobody makes segments ahead."""


class SpoolWriter:
    """The single-depth, single-threaded writer of one folder. Sizes are bytes.

    Attributes:
        writer_id: 16 hex digits.
        path: its folder.
        refusal: why the last append returned 0.
    """

    def __init__(
        self,
        spool: Path,
        family: str,
        *,
        meta: WriterMeta,
        quota: Quota,
        nudge: Callable[[], None] = no_nudge,
        faults: FaultHook = no_fault,
    ) -> None:
        """Make the folder; `begin` comes next. `nudge` is called when the spare was used up, and must not block.

        Raises:
            OSError: the folder cannot be made.
        """
        self.writer_id = random_hex(8)
        self._quota = quota
        self._nudge = nudge
        self._faults = faults
        self._ahead = 0
        self._next_bytes = 2 * FIRST_SEGMENT_BYTES
        self._seq = 0
        self._promised = 0
        self._cut_short = False
        self._abandoned = False
        self._sealed: list[Segment] = []
        self._spare: Segment | None = None
        self.refusal = Refusal.DISK_FULL
        self.path, self._hold, self._ack = make_writer_folder(spool, f"{family}-{self.writer_id}", meta)
        quota.count_as_own(self.path)
        self._current: Segment

    def begin(self) -> Refusal | None:
        """Make the first segment; where there is no room for it, take the folder away again and return why."""
        first = self._prepare(1, FIRST_SEGMENT_BYTES, 0, over_caps=False)
        if first is None:
            self._hold.release()
            remove_folder(self.path)
            return self.refusal
        first.start(1)
        self._current = first
        return None

    @property
    def promised(self) -> int:
        """Bytes that outstanding promises take."""
        return self._promised

    @property
    def retains(self) -> bool:
        """Whether sealed segments are still held, and with them their space on the disk."""
        return bool(self._sealed)

    def append(self, head: bytes, body: bytes, kind: int, reserve: int = 0, consumes: int = 0) -> int:
        """Commit one record; return its sequence number, or 0 where there is no room now (`refusal` says why).

        When it returns a number the record outlives this process, however that dies.
        """
        head_bytes = len(head)
        length = head_bytes + len(body)
        size = (length + 31) & ~7
        promised = self._promised
        if reserve:
            promised += record_bytes(reserve)
        if consumes:
            promised -= record_bytes(consumes)
            if promised < 0:
                promised = 0
        segment = self._current
        if segment.end + size + promised > segment.size or self._cut_short:
            found = self._find_room(size, length, promised, over_caps=consumes > 0)
            if found is None:
                return 0
            segment = found
        offset = segment.end
        self._cut_short = True
        mapping = segment.mapping
        words = segment.words
        start = offset + RECORD_BYTES
        middle = start + head_bytes
        mapping[start:middle] = head
        if body:
            mapping[middle : start + length] = body
        self._seq = seq = self._seq + 1
        at = offset >> 3
        shape = kind | head_bytes << 32
        words[at + 1] = seq
        words[at + 2] = shape
        digest = _digest(head, seq ^ shape)
        if body:
            digest = _digest(body, digest)
        words[at] = (digest & 0xFFFF_FFFF | 1) << 32 | length
        segment.end = offset + size
        self._promised = promised
        self._cut_short = False
        return seq

    def promise(self, reserve: int) -> bool:
        """Keep room for a later record that has no earlier one here; return False where there is none (`refusal`)."""
        promised = self._promised + record_bytes(reserve)
        segment = self._current
        full = segment.end + promised > segment.size or self._cut_short
        if full and self._find_room(0, 0, promised, over_caps=False) is None:
            return False
        self._promised = promised
        return True

    def skip_seq(self) -> int:
        """Hand out a sequence number for a record that goes another way."""
        self._seq = seq = self._seq + 1
        return seq

    def change_promise(self, difference_bytes: int) -> None:
        """Count a promise that was given or taken back elsewhere."""
        self._promised = max(0, self._promised + difference_bytes)

    def unacknowledged(self) -> tuple[int, Iterator[Entry]]:
        """Return (bytes, entries in order) of what is committed above the watermark now.

        The iterator may be used while others append; it ends where the stream stood when this was called.
        """
        watermark = Position.unpack(self._ack[0])
        parts: list[tuple[Segment, int, int]] = []
        for segment in (*self._sealed, self._current):
            start = HEADER_BYTES
            if segment.number < watermark.segment:
                continue
            if segment.number == watermark.segment:
                start = max(start, watermark.offset)
            if start < segment.end:
                parts.append((segment, start, segment.end))
        return sum(stop - start for _, start, stop in parts), _entries(parts)

    def acknowledge(self, position: Position) -> None:
        """Note that everything below `position` is acknowledged; a step back is ignored.

        The drain writes the same word. Both only ever write what is true, so whichever store comes last, the worst is
        that some records are sent twice.
        """
        if position > Position.unpack(self._ack[0]):
            write_watermark(self._ack, position)

    # What the keeper asks for, each under the lock that guards the writer, but `prepare`.

    def spare_wanted(self) -> bool:
        """Return whether a spare segment is missing, or too small for what is promised; the keeper is now at it."""
        spare = self._usable_spare()
        self._ahead = self._last_number() + _AHEAD
        return spare is None or self._promised > spare.free

    def offer(self, segment: Segment | None) -> bool:
        """Take a segment that the keeper made as the spare; False where it is not wanted any more."""
        if segment is None:
            return True
        if segment.number <= self._current.number:
            return False
        spare = self._usable_spare()
        if spare is not None and spare.number > segment.number:
            return False
        if spare is not None and segment.free < self._promised <= spare.free:
            return False  # more was promised meanwhile, and only the one made here covers it
        self._spare = segment
        if spare is not None:
            spare.remove()
        return True

    def forget_acknowledged(self) -> list[Segment]:
        """Let go of sealed segments that are acknowledged whole; the caller drops them, outside the lock."""
        watermark = Position.unpack(self._ack[0])
        done = [s for s in self._sealed if Position(s.number, s.end) <= watermark]
        self._sealed = [s for s in self._sealed if Position(s.number, s.end) > watermark]
        return done

    def prepare_spare(self) -> Segment | None:
        """Make and publish a segment with room for all promises, larger than the last; None (and `refusal`) where none
        can be had. Without the lock.
        """
        segment = self._prepare(self._ahead, self._next_bytes, self._promised, over_caps=False)
        if segment is not None:
            self._next_bytes = min(MAX_SEGMENT_BYTES, 2 * self._next_bytes)
        return segment

    def abandon(self) -> None:
        """In a forked child: make sure that no frame which was under way at the fork reaches the parent's files."""
        self._abandoned = True
        for segment in (self._current, self._spare):
            if segment is not None:
                libc.cover_with_private_pages(segment.mapping)
        self._hold.drop_inherited()

    def close(self) -> None:
        """Seal the stream and let go of the lock: from here on it belongs to whoever drains it."""
        self._heal()
        self._current.seal()
        spare = self._usable_spare()
        self._spare = None
        if spare is not None:
            spare.remove()
        self._hold.release()

    # Finding room.

    def _usable_spare(self) -> Segment | None:
        spare = self._spare
        return spare if spare is not None and spare.number > self._current.number else None

    def _find_room(self, size: int, length: int, promised: int, *, over_caps: bool) -> Segment | None:
        """Return the segment to put `size` bytes into so that `promised` stays covered."""
        if length > MAX_PAYLOAD_BYTES:
            raise InvalidInput(f"a record of {length} bytes is more than the spool takes", subject=str(self.path))
        if self._abandoned:
            self.refusal = Refusal.ABANDONED
            return None
        current = self._current
        whole = not self._cut_short
        if not whole:
            self._heal()
        stays = whole and size <= current.free
        need = promised if stays else size + promised
        if stays and promised <= current.free - size:
            return current
        spare = self._usable_spare()
        if spare is None or need > spare.free:
            # A removed file keeps its space for as long as it is mapped.
            self.forget_acknowledged()
            number = self._last_number() + 1
            number += number == self._ahead
            made = self._prepare(number, FIRST_SEGMENT_BYTES, need, over_caps=over_caps)
            if made is None:
                return None
            if self._abandoned:
                self.refusal = Refusal.ABANDONED
                return None
            self._spare = made
            if spare is not None:
                spare.remove()
            spare = made
        if stays:
            return current
        return self._roll(spare)

    def _roll(self, segment: Segment) -> Segment:
        old = self._current
        old.seal()
        self._faults("spool.sealed")
        segment.start(self._seq + 1)
        self._sealed.append(old)
        self._current = segment
        self._cut_short = False
        self._nudge()
        self._faults("spool.rolled")
        return segment

    def _heal(self) -> None:
        """Keep the record of an append that was cut short after its commit word and before `end` moved."""
        current = self._current
        if self._cut_short and current.end + RECORD_BYTES <= current.size:
            commit = current.words[current.end >> 3]
            if commit:
                current.end += record_bytes(commit & 0xFFFF_FFFF)

    def _last_number(self) -> int:
        spare = self._usable_spare()
        return self._current.number if spare is None else spare.number

    def _prepare(self, number: int, size: int, need: int, *, over_caps: bool) -> Segment | None:
        """Make and publish a segment of about `size`, with `need` bytes or more for records; None (and `refusal`) where
        none can be had.
        """
        smallest = max(FIRST_SEGMENT_BYTES, _whole_pages(need + HEADER_BYTES))
        size = max(size, smallest)
        while True:
            refusal = None if over_caps else self._quota.refuses(size)
            if refusal is None:
                try:
                    return self._publish(Segment.prepare(self.path, number, size))
                except OSError as error:
                    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
                    refusal = Refusal.DISK_FULL if full else Refusal.DISK_ERROR
            if size <= smallest:
                self.refusal = refusal
                return None
            size = max(smallest, size // 2)

    def _publish(self, segment: Segment) -> Segment:
        self._faults("spool.prepared")
        temporary, path, rename = segment.temporary, segment.path, os.rename
        try:
            # Nothing can run between this test and the rename: a child forked by a signal handler never renames.
            if not self._abandoned:
                rename(temporary, path)
        except BaseException:
            segment.remove()
            raise
        self._faults("spool.published")
        return segment


def _whole_pages(size: int) -> int:
    return (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE


def _entries(parts: list[tuple[Segment, int, int]]) -> Iterator[Entry]:
    for segment, start, stop in parts:
        offset = start
        while offset < stop:
            try:
                entry = read_entry(segment.mapping, segment.words, segment.number, offset, stop)
            except ValueError as error:
                raise Damaged(str(error), subject=f"{segment.path}@{offset}") from error
            if entry is None:
                break
            yield entry
            offset = entry.next_offset
