"""From the spool to the wire: entries become OTLP spans, spans become requests bounded by bytes and count.

Used by whoever sends what a spool holds: the drain, adoption, and the barrier before an effect. An entry whose head
cannot be read is not sent and not lost: it is named, and goes to `refused/`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from livespan.instrumentation.spool import Entry, Position
from livespan.proto.errors import Damaged
from livespan.proto.span import JournalSpan, WireSpan, wire_span

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_SPANS",
    "EntryKind",
    "Outgoing",
    "batches",
    "decode_head",
    "encode_head",
    "run_wire",
    "scoped_head",
    "to_wire",
]

MAX_BATCH_BYTES: Final = 3 * 1024 * 1024
"""Below the 4 MiB that a gRPC server takes where nobody said otherwise."""
MAX_BATCH_SPANS: Final = 512


class EntryKind(IntEnum):
    """What a spool entry's head is."""

    JOURNAL = 1
    """A packed JournalSpan; the body is a checkpoint's state."""
    FOREIGN = 2
    """A serialised OTLP Span of somebody else's; the body is its serialised Resource."""
    SCOPED = 3
    """A FOREIGN one with what made it before it: length (4 bytes, little-endian) and bytes of its serialised
    InstrumentationScope."""


class Outgoing(NamedTuple):
    """An entry on its way, and where the watermark stands once it is acknowledged. What it was read from is let go."""

    seq: int
    end: Position
    wire: WireSpan

    @classmethod
    def of(cls, entry: Entry, writer: str) -> Outgoing | None:
        """Return an entry as what goes out, or None where its head cannot be read."""
        wire = to_wire(entry, writer)
        return cls(entry.seq, entry.end, wire) if wire is not None else None


_LENGTH: Final = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(JournalSpan).decode


def encode_head(span: JournalSpan) -> bytes:
    """Return a journal span as the head of a spool entry."""
    return _encode(span)


def decode_head(head: bytes) -> JournalSpan:
    """Return the journal span that a head holds.

    Raises:
        msgspec.DecodeError: it holds none.
    """
    return _decode(head)


def scoped_head(scope: bytes, span: bytes) -> bytes:
    """Return the head of a SCOPED entry."""
    return _LENGTH.pack(len(scope)) + scope + span


def to_wire(entry: Entry, writer: str) -> WireSpan | None:
    """Return an entry as an OTLP span, or None where its head cannot be read."""
    if entry.kind == EntryKind.FOREIGN:
        return _foreign(entry.body, b"", entry.head)
    if entry.kind == EntryKind.SCOPED:
        if len(entry.head) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(entry.head)[0]
        return _foreign(entry.body, entry.head[_LENGTH.size : end], entry.head[end:])
    try:
        span = _decode(entry.head)
    except msgspec.DecodeError:
        return None
    return wire_span(span, writer, entry.seq, entry.body)


def run_wire(entry: Entry, writer: str, trace_id: bytes) -> WireSpan | None:
    """Return a journal entry of one run as an OTLP span, or None where it is another's or cannot be read."""
    if entry.kind != EntryKind.JOURNAL:
        return None
    try:
        span = _decode(entry.head)
    except msgspec.DecodeError:
        return None
    return wire_span(span, writer, entry.seq, entry.body) if span.trace_id == trace_id else None


def batches(spans: Iterator[Outgoing]) -> Iterator[list[Outgoing]]:
    """Group spans into requests of at most 3 MB and 512 spans; a larger span goes alone.

    Raises:
        Damaged: as `spans` does; what stands before the damage is yielded first.
    """
    batch: list[Outgoing] = []
    size = 0
    try:
        for span in spans:
            if batch and (size + span.wire.size_bytes > MAX_BATCH_BYTES or len(batch) >= MAX_BATCH_SPANS):
                yield batch
                batch, size = [], 0
            batch.append(span)
            size += span.wire.size_bytes
    except Damaged:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _foreign(resource: bytes, scope: bytes, span: bytes) -> WireSpan:
    head = b"\x12" + _varint(len(span))
    return WireSpan(resource, (head, span), len(head) + len(span), scope)


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)
