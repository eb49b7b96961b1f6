"""Reading a spool from another process: the drain, adoption, and a barrier over the writers of a run.

    list_writers ─> WriterFolder ── alive, meta, watermark ──> entries ──> (sent, acknowledged) ──> advance ──>
    remove_finished

A segment is *finished* when nothing will be written to it any more: it is sealed, or its writer is dead, or a later
segment of the writer has a record. Only sealed segments, or any of a dead writer, may be removed, and only when
acknowledged whole: taking away a file that its writer still fills would lose records without a sound.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from livespan.instrumentation.spool.folder import check_folder, map_page, remove_folder
from livespan.instrumentation.spool.layout import (
    ACK,
    HEADER_BYTES,
    LOCK,
    META,
    START,
    Entry,
    Position,
    WriterMeta,
    read_watermark,
    segment_name,
    segment_number,
    split_folder_name,
    write_watermark,
)
from livespan.instrumentation.spool.liveness import is_held
from livespan.instrumentation.spool.segment_reader import SegmentReader
from livespan.proto.clock import wall_ns
from livespan.proto.errors import Damaged, InvalidInput, NotFound

__all__ = ["WriterFolder", "list_writers", "remove_unborn"]

_UNBORN_AGE_S = 60


class WriterFolder:
    """One writer's folder as others see it. Positions are the writer's own; sizes are bytes.

    `family` and `writer` are the two parts of its name. The owner closes it (its `ack` page is mapped on first use).
    """

    __slots__ = ("_ack", "_newest", "family", "path", "writer")

    def __init__(self, path: Path) -> None:
        """Look at a folder.

        Raises:
            InvalidInput: its name is not a writer's, or it is not ours alone.
            NotFound: it is gone.
        """
        names = split_folder_name(path.name)
        if names is None:
            raise InvalidInput("not the folder of a writer", subject=str(path))
        check_folder(path)
        self.path = path
        self.family, self.writer = names
        self._ack: memoryview[int] | None = None
        self._newest: SegmentReader | None = None

    def alive(self) -> bool:
        """Return whether the writer's process lives. A forked child does not keep its parent's writer alive."""
        return is_held(self.path / LOCK)

    @property
    def meta(self) -> WriterMeta:
        """Who the writer is.

        Raises:
            NotFound: the folder is gone.
            Damaged: the file cannot be read.
        """
        path = self.path / META
        try:
            return msgspec.json.decode(path.read_bytes(), type=WriterMeta)
        except FileNotFoundError as error:
            raise NotFound("the writer's folder is gone", subject=str(path)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise Damaged(f"meta.json cannot be read ({error})", subject=str(path)) from error

    def segments(self) -> list[int]:
        """Return the numbers of the segments that are there, ascending; [] where the folder is gone."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted(n for n in map(segment_number, names) if n is not None)

    def open(self, number: int) -> SegmentReader:
        """Open a segment. The caller closes it.

        Raises:
            NotFound: it is gone.
            Damaged: it is not a whole segment.
        """
        return SegmentReader(self.path / segment_name(number), number)

    def watermark(self) -> Position:
        """Return below what everything is acknowledged."""
        return read_watermark(self._page())

    def advance(self, position: Position) -> bool:
        """Note that everything below `position` is acknowledged; a step back is ignored and returns False."""
        page = self._page()
        if position <= read_watermark(page):
            return False
        write_watermark(page, position)
        return True

    def entries(self, after: Position = START) -> Iterator[Entry]:
        """Yield what is committed at or above `after`, in order, over all segments, up to where the stream stands.

        Raises:
            Damaged: a record is not what was written (subject path@offset); `skip_damaged` says where to go on.
        """
        # Asked first: what a writer commits after this and before its death is found by the next call.
        dead = not self.alive()
        number = self._next_segment(after.segment)
        while number is not None:
            with suppress(NotFound), self.open(number) as reader:
                offset = after.offset if number == after.segment else HEADER_BYTES
                for entry in reader.entries(offset):
                    yield entry
                    offset = entry.next_offset
                if not dead:
                    if not reader.sealed and not self._has_records([n for n in self.segments() if n > number]):
                        return
                    yield from reader.entries(offset)  # what came between the last look and the seal
            # Looked up only now: a writer makes the segment that it goes on in before it leaves the one before, and
            # from then on none below it. A list made earlier can hold the keeper's spare, and lack a smaller number.
            number = self._next_segment(number + 1)

    def has_news(self) -> bool:
        """Return whether `entries` may have something above the watermark. Cheap, for asking often: no is certain, and
        costs no syscall.
        """
        watermark = self.watermark()
        newest = self._newest
        if newest is None or newest.number != watermark.segment:
            self._let_go()
            try:
                newest = self._newest = self.open(watermark.segment)
            except (NotFound, Damaged):
                return True
        return newest.sealed or newest.is_committed(max(watermark.offset, HEADER_BYTES))

    def skip_damaged(self, damaged: Damaged) -> Position:
        """Return where to go on after a record that `entries` reported.

        Raises:
            InvalidInput: the report is not of a segment of this folder.
        """
        path, _, offset = damaged.subject.rpartition("@")
        number = segment_number(os.path.basename(path))
        if number is None or os.path.dirname(path) != str(self.path):
            raise InvalidInput("not a segment of this writer", subject=damaged.subject)
        if not offset.isdigit() or not int(offset):
            return Position(number + 1, 0)
        with self.open(number) as reader:
            return Position(number, reader.after_damage(int(offset)))

    def removable(self, number: int) -> bool:
        """Return whether a segment may be removed: finished for good, and acknowledged whole."""
        dead = not self.alive()
        watermark = self.watermark()
        if watermark.segment > number and dead:
            return True
        try:
            with self.open(number) as reader:
                if not reader.sealed and not dead:
                    return False
                if not reader.has_records and reader.end() == HEADER_BYTES:
                    return True  # A spare that was never used.
                if watermark.segment != number:
                    return watermark.segment > number
                return watermark.offset >= reader.end(watermark.offset)
        except NotFound:
            return False
        except Damaged:
            # What cannot be read stays for a person to look at, until the stream has gone past it.
            return watermark.segment > number and dead

    def remove_finished(self) -> bool:
        """Remove what is removable; with a dead writer's last segment its folder goes: return whether it did."""
        dead = not self.alive()
        left = 0
        for number in self.segments():
            if self.removable(number):
                (self.path / segment_name(number)).unlink(missing_ok=True)
            else:
                left += 1
        if left or not dead:
            return False
        self.close()
        remove_folder(self.path)
        return True

    def close(self) -> None:
        """Unmap the watermark, and what `has_news` looks at."""
        self._ack = None
        self._let_go()

    def _let_go(self) -> None:
        newest, self._newest = self._newest, None
        if newest is not None:
            newest.close()

    def _page(self) -> memoryview[int]:
        if self._ack is None:
            path = self.path / ACK
            try:
                self._ack = memoryview(map_page(path, create=False)).cast("Q")
            except FileNotFoundError as error:
                raise NotFound("the writer's folder is gone", subject=str(path)) from error
        return self._ack

    def _next_segment(self, at_least: int) -> int | None:
        return next((number for number in self.segments() if number >= at_least), None)

    def _has_records(self, numbers: list[int]) -> bool:
        for number in numbers:
            try:
                with self.open(number) as reader:
                    if reader.has_records:
                        return True
            except (NotFound, Damaged):
                continue
        return False


def list_writers(spool: Path, *, family: str = "") -> list[WriterFolder]:
    """Return the writers of a spool, by folder name; [] where there is no spool yet.

    Args:
        spool: the home's.
        family: look at the folders of this family alone; "" = of all.

    Raises:
        InvalidInput: the spool, or a writer's folder, is not ours alone.
    """
    try:
        check_folder(spool)
    except NotFound:
        return []
    folders: list[WriterFolder] = []
    for name in sorted(os.listdir(spool)):
        names = split_folder_name(name)
        if names is not None and family in ("", names[0]):
            try:
                folders.append(WriterFolder(spool / name))
            except NotFound:
                continue
    return folders


def remove_unborn(spool: Path) -> int:
    """Remove folders whose making was cut short a minute ago or more; return how many."""
    removed = 0
    for name in os.listdir(spool):
        path = spool / name
        if not (name.startswith(".") and name.endswith(".tmp")):
            continue
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        age_s = wall_ns() / 1e9 - status.st_mtime
        if stat.S_ISDIR(status.st_mode) and age_s >= _UNBORN_AGE_S and not is_held(path / LOCK):
            remove_folder(path)
            removed += 1
    return removed
