"""One segment file as others read it: mapped read-only, its committed records in order, what is damaged said.

A zero commit word ends an unsealed segment: beyond it lies what a killed process left half-written, and is
nobody's. In a sealed segment it is damage, since its writer said how far it goes.
"""

from __future__ import annotations

import mmap
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from livespan.instrumentation.spool.layout import (
    HEADER_BYTES,
    MAGIC,
    RECORD_BYTES,
    WORD_FIRST_SEQ,
    WORD_MAGIC,
    WORD_NUMBER,
    WORD_SEALED,
    WORD_SIZE,
    Entry,
    read_entry,
    record_bytes,
)
from livespan.proto.errors import Damaged, NotFound

__all__ = ["SegmentReader"]

_SECOND_LOOK_S: Final = 0.001


class SegmentReader:
    """A segment, open for reading. The owner closes it (it is a context manager). Offsets are bytes."""

    __slots__ = ("_mapping", "_words", "number", "path", "size")

    def __init__(self, path: Path, number: int) -> None:
        """Map the file.

        Raises:
            NotFound: it is gone.
            Damaged: it is not a whole segment of a version that we read, or not ours.
        """
        self.path = path
        self.number = number
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound("the segment is gone", subject=str(path)) from error
        except OSError as error:
            raise Damaged(f"the segment cannot be opened ({error.strerror})", subject=str(path)) from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise Damaged("the segment is not a file of ours", subject=str(path))
            if status.st_size < HEADER_BYTES or status.st_size % 8:
                raise self._broken("it is shorter than a header")
            self._mapping = mmap.mmap(fd, status.st_size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self._words: memoryview[int] = memoryview(self._mapping).cast("Q")
        self.size = status.st_size
        words = self._words
        reason = ""
        if words[WORD_MAGIC] != MAGIC:
            reason = "it is no segment of format version 1"
        elif words[WORD_SIZE] != self.size:
            reason = f"it has {self.size} bytes and should have {words[WORD_SIZE]}"
        elif words[WORD_NUMBER] != number:
            reason = f"it says that it is segment {words[WORD_NUMBER]}"
        elif words[WORD_SEALED] > self.size or words[WORD_SEALED] % 8:
            reason = "its sealed length is beyond its end"
        if reason:
            self.close()
            raise self._broken(reason)

    @property
    def sealed(self) -> bool:
        """Whether the writer said that it will write no more."""
        return self._words[WORD_SEALED] != 0

    @property
    def first_seq(self) -> int:
        """The sequence number of its first record; 0 for a spare that is not in use."""
        return self._words[WORD_FIRST_SEQ]

    @property
    def has_records(self) -> bool:
        """Whether anything is committed in it."""
        return self._words[HEADER_BYTES >> 3] != 0

    def is_committed(self, offset: int) -> bool:
        """Return whether a record begins at `offset`, which is where one would."""
        return offset + RECORD_BYTES <= self.size and self._words[offset >> 3] != 0

    def entries(self, offset: int = HEADER_BYTES) -> Iterator[Entry]:
        """Yield the committed records from `offset`, which is where a record begins, or less than the first one's.

        Raises:
            Damaged: a record is not what was written, with path@offset.
        """
        offset = max(offset, HEADER_BYTES)
        while True:
            # Read before the commit word: a segment is sealed after its last record is committed.
            sealed_bytes = self._words[WORD_SEALED]
            entry = self._read(offset, sealed_bytes or self.size)
            if entry is None:
                if offset < sealed_bytes:
                    raise self._damaged("nothing is committed here, below the sealed length", offset)
                return
            yield entry
            offset = entry.next_offset

    def end(self, offset: int = 0) -> int:
        """Return where the committed records end; `offset` is a known beginning of a record to look from."""
        sealed_bytes = self._words[WORD_SEALED]
        if sealed_bytes:
            return sealed_bytes
        offset = max(offset, HEADER_BYTES)
        for entry in self.entries(offset):
            offset = entry.next_offset
        return offset

    def after_damage(self, offset: int) -> int:
        """Return where to go on after the damaged record at `offset`: the next whole record, else where there are
        none left.

        Its own length is believed where it leads to a whole record; else every aligned place after it is tried.
        Segments are never used twice, so what is found there was appended here.
        """
        limit = self._words[WORD_SEALED] or self.size
        commit = self._words[offset >> 3]
        following = offset + record_bytes(commit & 0xFFFF_FFFF) if commit else limit
        if self._is_whole(following, limit):
            return following
        for candidate in range(offset + 8, limit - RECORD_BYTES + 1, 8):
            if self._words[candidate >> 3] and self._is_whole(candidate, limit):
                return candidate
        # The newest record of a segment that is still filled: the next one will stand right behind it.
        unsealed = limit == self.size
        if unsealed and following < limit and self._words[following >> 3] == 0:
            return following
        return limit

    def _is_whole(self, offset: int, limit: int) -> bool:
        try:
            return read_entry(self._mapping, self._words, self.number, offset, limit) is not None
        except ValueError:
            return False

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._mapping.close()

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, offset: int, limit: int) -> Entry | None:
        try:
            return read_entry(self._mapping, self._words, self.number, offset, limit)
        except ValueError:
            # On a machine with weaker ordering than x86 a commit word can be seen before what it covers.
            time.sleep(_SECOND_LOOK_S)
        try:
            return read_entry(self._mapping, self._words, self.number, offset, limit)
        except ValueError as error:
            raise self._damaged(str(error), offset) from error

    def _damaged(self, reason: str, offset: int) -> Damaged:
        return Damaged(
            f"a record in the spool is damaged: {reason}",
            subject=f"{self.path}@{offset}",
            hint="The other records are read; keep the file if you want to find out what wrote to it.",
        )

    def _broken(self, reason: str) -> Damaged:
        return Damaged(f"the segment is damaged: {reason}", subject=f"{self.path}@0")
