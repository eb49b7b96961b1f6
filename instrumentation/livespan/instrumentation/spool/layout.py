"""The spool's format, version 1, as code: names, header words, records, positions. FORMAT.md is the same in prose.

    segment    0        8           16     24              32        40            64
               | magic  | first seq | size | sealed length | number  | zero        | records ...
    record     0                 8       16                    24
               | commit          | seq   | kind | len(head)    | head | body | zero to 8 |
    commit     digest << 32 | len(head) + len(body), digest odd; zero = nothing committed here

What lives here is pure: no file is opened and nothing is written. The commit word is what makes a record exist: a
writer stores it last, with one aligned 8-byte store, so that a process killed at any instant leaves a whole record
or none.
"""

from __future__ import annotations

import mmap
import re
from typing import Final, NamedTuple

import msgspec
import xxhash

__all__ = [
    "ACK",
    "ACK_BYTES",
    "CONTROL",
    "HEADER_BYTES",
    "LOCK",
    "MAGIC",
    "MAX_PAYLOAD_BYTES",
    "META",
    "RECORD_BYTES",
    "SEGMENT_SUFFIX",
    "START",
    "WAKE",
    "WORD_FIRST_SEQ",
    "WORD_MAGIC",
    "WORD_NUMBER",
    "WORD_SEALED",
    "WORD_SIZE",
    "Entry",
    "Position",
    "WriterMeta",
    "family_is_valid",
    "read_entry",
    "read_watermark",
    "record_bytes",
    "segment_name",
    "segment_number",
    "split_folder_name",
    "write_watermark",
]

MAGIC: Final = int.from_bytes(b"LSPOOL\x00\x01", "big")
"""Six letters, a zero, the version. A reader refuses what it does not know."""

HEADER_BYTES: Final = 64
WORD_MAGIC: Final = 0
WORD_FIRST_SEQ: Final = 1
WORD_SIZE: Final = 2
WORD_SEALED: Final = 3
WORD_NUMBER: Final = 4

RECORD_BYTES: Final = 24
"""The three words in front of a payload."""
MAX_PAYLOAD_BYTES: Final = 0xFFFF_0000
"""The commit word has 32 bits for the length."""

LOCK: Final = "lock"
ACK: Final = "ack"
ACK_BYTES: Final = 4096
_LOOKS: Final = 100
META: Final = "meta.json"
CONTROL: Final = "control"
WAKE: Final = "wake"
SEGMENT_SUFFIX: Final = ".seg"

_FAMILY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_WRITER = re.compile(r"[0-9a-f]{16}")
_SEGMENT = re.compile(r"([0-9]{8,})\.seg")


class Position(NamedTuple):
    """A place in one writer's stream; positions of one writer are ordered. `offset` is in bytes, a multiple of 8."""

    segment: int
    offset: int

    def pack(self) -> int:
        """Return the position as the one word that stands in `ack`."""
        return self.segment << 32 | self.offset >> 3

    @classmethod
    def unpack(cls, word: int) -> Position:
        """Return the position that a word of `ack` stands for."""
        return cls(word >> 32, (word & 0xFFFF_FFFF) << 3)


START: Final = Position(0, 0)
"""Before everything: segments are numbered from 1."""


class Entry(msgspec.Struct, frozen=True):
    """One committed record. A msgspec struct and not a dataclass: tens of thousands are made a second.

    `offset` and `next_offset` are bytes within segment number `segment`. `head` and `body` mean nothing to the spool.
    """

    segment: int
    offset: int
    next_offset: int
    kind: int
    seq: int
    head: bytes
    body: bytes

    @property
    def end(self) -> Position:
        """Where the watermark stands once this entry is acknowledged."""
        return Position(self.segment, self.next_offset)


class WriterMeta(msgspec.Struct, frozen=True):
    """Who writes a folder, and to which collector it wants to go. `created_ns` is wall time, for people."""

    endpoint: str
    pid: int
    created_ns: int


def record_bytes(payload_bytes: int) -> int:
    """Return what a payload takes in a segment, its three words included."""
    return (payload_bytes + RECORD_BYTES + 7) & ~7


def read_entry(mapping: mmap.mmap, words: memoryview[int], segment: int, offset: int, limit: int) -> Entry | None:
    """Read the record at `offset` of a mapped segment; None where nothing is committed.

    Args:
        limit: the first byte past what may hold records.

    Raises:
        ValueError: there is a commit word, and what it stands for is not what was written.
    """
    if offset + RECORD_BYTES > limit:
        return None
    at = offset >> 3
    commit = words[at]
    if commit == 0:
        return None
    length = commit & 0xFFFF_FFFF
    seq = words[at + 1]
    shape = words[at + 2]
    head_bytes = shape >> 32
    start = offset + RECORD_BYTES
    stop = start + length
    if stop > limit or head_bytes > length:
        raise ValueError("its lengths do not fit the segment")
    middle = start + head_bytes
    head = mapping[start:middle]
    body = mapping[middle:stop]
    digest = xxhash.xxh3_64_intdigest(head, seq ^ shape)
    if body:
        digest = xxhash.xxh3_64_intdigest(body, digest)
    if (digest & 0xFFFF_FFFF | 1) != commit >> 32:
        raise ValueError("its digest does not match its bytes")
    next_offset = offset + record_bytes(length)
    return Entry(segment, offset, next_offset, shape & 0xFFFF_FFFF, seq, head, body)


def segment_name(number: int) -> str:
    """Return the file name of segment `number`; names of one writer sort as its segments do."""
    return f"{number:08d}{SEGMENT_SUFFIX}"


def segment_number(name: str) -> int | None:
    """Return the number of a segment's file name, or None where it is another file's."""
    match = _SEGMENT.fullmatch(name)
    return int(match.group(1)) if match else None


def family_is_valid(family: str) -> bool:
    """Return whether a family can stand in a folder's name."""
    return _FAMILY.fullmatch(family) is not None


def split_folder_name(name: str) -> tuple[str, str] | None:
    """Return (family, writer) of a writer's folder name, or None where it is another folder's."""
    family, dash, writer = name.rpartition("-")
    if dash and family_is_valid(family) and _WRITER.fullmatch(writer):
        return family, writer
    return None


def write_watermark(page: memoryview[int], position: Position) -> None:
    """Store a watermark in the mapped `ack`, and then what it is checked by."""
    word = position.pack()
    page[0] = word
    page[1] = _check_of(word)


def read_watermark(page: memoryview[int]) -> Position:
    """Return the watermark of a mapped `ack`; START where it is not what was written, so that all is sent again, which
    does no harm. A check of 0 is that of a writer that had none.
    """
    for _ in range(_LOOKS):  # who writes it may be between its two stores
        word, check = page[0], page[1]
        if check in (0, _check_of(word)):
            return Position.unpack(word)
    return START


def _check_of(word: int) -> int:
    return xxhash.xxh3_64_intdigest(word.to_bytes(8, "little")) | 1
