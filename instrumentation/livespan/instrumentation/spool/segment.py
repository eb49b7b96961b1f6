"""One segment file as its writer holds it: created whole, filled in order, sealed once.

    prepare (temporary name, space allocated, pages faulted in) -> publish (own name) -> open -> sealed

Every byte is allocated before it is mapped, so that a full disk is an error of `prepare` and never a SIGBUS at a store.
Where records go, and which segment is next, is the writer's to know.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from livespan.instrumentation.spool import libc
from livespan.instrumentation.spool.layout import (
    HEADER_BYTES,
    MAGIC,
    WORD_FIRST_SEQ,
    WORD_MAGIC,
    WORD_NUMBER,
    WORD_SEALED,
    WORD_SIZE,
    segment_name,
)
from livespan.proto.clock import random_hex

__all__ = ["Segment"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Segment:
    """A mapped segment. `end` is the first byte that holds no record yet; all sizes are bytes.

    It is never unmapped by hand: whoever reads its entries holds it, and the last to let go unmaps it.
    """

    __slots__ = ("end", "mapping", "number", "path", "size", "temporary", "words")

    def __init__(self, folder: Path, number: int, mapping: mmap.mmap, temporary: Path) -> None:
        self.number = number
        self.path = folder / segment_name(number)
        self.temporary = temporary
        self.mapping = mapping
        self.words: memoryview[int] = memoryview(mapping).cast("Q")
        self.size = len(mapping)
        self.end = HEADER_BYTES

    @classmethod
    def prepare(cls, folder: Path, number: int, size: int) -> Segment:
        """Make a segment under a temporary name of its own. It is unknown to readers until it is published.

        Raises:
            OSError: no space (ENOSPC, EDQUOT), or the folder cannot be written to. Nothing is left behind.
        """
        temporary = folder / f"{segment_name(number)}.{random_hex(4)}.tmp"
        fd = os.open(temporary, _FLAGS, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            mapping = mmap.mmap(fd, size)
            libc.populate(mapping)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        segment = cls(folder, number, mapping, temporary)
        segment.words[WORD_SIZE] = size
        segment.words[WORD_NUMBER] = number
        segment.words[WORD_MAGIC] = MAGIC
        return segment

    @property
    def free(self) -> int:
        """Bytes that records may still take."""
        return self.size - self.end

    def start(self, first_seq: int) -> None:
        """Note the sequence number of the first record, for people who look at the file."""
        self.words[WORD_FIRST_SEQ] = first_seq

    def seal(self) -> None:
        """Say that nothing will be written any more. A reader goes on to the next segment from here."""
        self.words[WORD_SEALED] = self.end

    def remove(self) -> None:
        """Take an unused segment off the disk; it is sealed first, for a reader that has it open."""
        self.seal()
        for path in (self.path, self.temporary):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
