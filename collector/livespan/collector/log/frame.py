"""The bytes of one frame: layout, writing, checking. Segments and files are not here. The spec is
FORMAT.md.

    offset  size
     0       8   magic "LSFRAME\\n"
     8      16   log uuid                       one needle: a frame of another log, or of a former
    24       4   segment reuse number           use of this segment, is not even a candidate
    28       2   kind (1: OTLP ExportTraceServiceRequest)
    30       2   frame version (1)
    32       8   log_seq of the first record
    40       4   record count
    44       4   payload length in bytes
    48       8   XXH3-64 of bytes 0..47 and the payload
    56           payload, then zeros up to a multiple of 8

All numbers are little-endian; a frame starts at a multiple of 8.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from uuid import UUID

from xxhash import xxh3_64

__all__ = [
    "HEADER_SIZE",
    "MAX_PAYLOAD_BYTES",
    "FrameHeader",
    "check_frame",
    "check_parts",
    "encode_frame",
    "frame_prefix",
    "frame_size",
    "one_bit_off",
    "read_header",
]

MAGIC: Final = b"LSFRAME\n"
KIND_OTLP_TRACES: Final = 1
FRAME_VERSION: Final = 1
HEADER_SIZE: Final = 56
MAX_PAYLOAD_BYTES: Final = 2**32 - 1

_CHECKED: Final = 48
"""Bytes of the header that the checksum covers: all before itself."""
_HEADER: Final = struct.Struct("<8s16sIHHQIIQ")
_REUSE: Final = struct.Struct("<I")
_REST: Final = struct.Struct("<HHQII")
_SUM: Final = struct.Struct("<Q")
_PAD: Final = tuple(b"\0" * (-size % 8) for size in range(8))


class FrameHeader(NamedTuple):
    """A header as read, unchecked."""

    magic: bytes
    uuid: bytes
    reuse: int
    kind: int
    version: int
    first_seq: int
    records: int
    length: int
    checksum: int


def frame_size(length: int) -> int:
    """Return the bytes that a frame with a payload of `length` bytes takes, padding included."""
    return HEADER_SIZE + length + (-length % 8)


def frame_prefix(uuid: UUID, reuse: int | None) -> bytes:
    """Return the bytes that every frame of this log and this use of a segment starts with; `None`
    leaves the use open.
    """
    return MAGIC + uuid.bytes + (b"" if reuse is None else _REUSE.pack(reuse))


def encode_frame(prefix: bytes, first_seq: int, count: int, payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Return header, payload (the object given, not a copy) and padding. `prefix` is that of
    `frame_prefix` with its use.
    """
    head = prefix + _REST.pack(KIND_OTLP_TRACES, FRAME_VERSION, first_seq, count, len(payload))
    checksum = xxh3_64(head)
    checksum.update(payload)
    return head + _SUM.pack(checksum.intdigest()), payload, _PAD[len(payload) & 7]


def read_header(data: bytes | bytearray | memoryview, offset: int) -> FrameHeader:
    """Return the header at `offset`; at least HEADER_SIZE bytes must follow it."""
    return FrameHeader._make(_HEADER.unpack_from(data, offset))


def check_parts(head: bytes, payload: bytes | memoryview, prefix: bytes) -> FrameHeader | None:
    """Return the header of a frame that was read in two parts, if it starts with `prefix` and its checksum holds."""
    if len(head) != HEADER_SIZE or not head.startswith(prefix):
        return None
    header = read_header(head, 0)
    if header.version != FRAME_VERSION or header.records < 1 or header.first_seq < 1 or header.length != len(payload):
        return None
    checksum = xxh3_64(head[:_CHECKED])
    checksum.update(payload)
    return header if checksum.intdigest() == header.checksum else None


def check_frame(view: memoryview, offset: int, prefix: bytes) -> FrameHeader | None:
    """Return the header of the frame at `offset` if it lies there whole, starts with `prefix` and
    its checksum holds.
    """
    if offset + HEADER_SIZE > len(view) or bytes(view[offset : offset + len(prefix)]) != prefix:
        return None
    header = read_header(view, offset)
    payload = offset + HEADER_SIZE
    end = payload + header.length
    if header.version != FRAME_VERSION or header.records < 1 or header.first_seq < 1 or end > len(view):
        return None
    checksum = xxh3_64(view[offset : offset + _CHECKED])
    checksum.update(view[payload:end])
    return header if checksum.intdigest() == header.checksum else None


def one_bit_off(view: memoryview, offset: int, prefix: bytes) -> FrameHeader | None:
    """Return the header of the frame at `offset` as it was before one bit of it flipped, None where no single bit would
    make it whole.
    """
    if offset + HEADER_SIZE > len(view):
        return None
    head = bytearray(view[offset : offset + HEADER_SIZE])
    strange = int.from_bytes(head[: len(prefix)], "little") ^ int.from_bytes(prefix, "little")
    if strange.bit_count() > 1:
        return None
    for bit in (strange.bit_length() - 1,) if strange else range(8 * len(prefix), 8 * HEADER_SIZE):
        head[bit >> 3] ^= 1 << (bit & 7)
        start = offset + HEADER_SIZE
        header = check_parts(bytes(head), view[start : start + read_header(head, 0).length], prefix)
        if header is not None:
            return header
        head[bit >> 3] ^= 1 << (bit & 7)
    return None
