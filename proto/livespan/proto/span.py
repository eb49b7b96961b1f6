"""The journal span: a record as the agent writes it into the spool, and its exact OTLP bytes.

The agent's thread only packs a `JournalSpan` (msgspec, about 1 us); whoever sends it builds the OTLP request by
joining byte strings, with no protobuf object, since values that are already bytes (state, inputs, outputs) are only
copied. What is built here parses as the protobuf message of opentelemetry-proto, byte for byte what its own encoder
accepts (tests compare both).

    ExportTraceServiceRequest  1: ResourceSpans*
    ResourceSpans              1: Resource  2: ScopeSpans*
    ScopeSpans                 1: InstrumentationScope  2: Span*
    Span                       1 trace_id  2 span_id  4 parent  5 name  6 kind  7 start  8 end
                               9 attributes*  13 links*  15 status
    KeyValue                   1 key  2 AnyValue
    AnyValue                   1 string  2 bool  3 int  4 double  7 bytes
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from livespan.proto import attributes as names

__all__ = ["JournalSpan", "WireSpan", "attribute_bytes", "export_request", "resource_bytes", "wire_span"]

Scalar: TypeAlias = str | int | float | bool

_SPAN_IN_SCOPE: Final = b"\x12"
_ATTRIBUTE: Final = b"\x4a"
_STATUS_ERROR: Final = b"\x7a\x02\x18\x02"
_INTERNAL_KIND: Final = b"\x30\x01"
_LINK: Final = b"\x6a\x1c\x0a\x10"  # field 13, 28 bytes: trace_id (16) and span_id (8) with their heads
_TIMES = struct.Struct("<BQBQ")
_DOUBLE = struct.Struct("<d")
_keys: dict[str, bytes] = {}


class JournalSpan(msgspec.Struct, frozen=True, array_like=True):
    """One record on its way from the agent to the collector.

    Attributes:
        resource: serialised OTLP Resource of the run's life (`resource_bytes`), the same object for all its records.
        trace_id, node_id, parent_id: 16, 8 and 8 bytes; parent_id b"" where there is none.
        started_ns, ended_ns: wall time in nanoseconds; 0 = not set.
        fixed: serialised attributes that never change for a call site (`attribute_bytes`).
        attributes: what is this record's own.
        texts: attributes whose UTF-8 bytes are at hand already (JSON inputs and outputs).
    """

    resource: bytes
    trace_id: bytes
    node_id: bytes
    parent_id: bytes
    name: str
    started_ns: int
    ended_ns: int
    failed: bool
    fixed: bytes
    attributes: dict[str, Scalar]
    texts: tuple[tuple[str, bytes], ...] = ()


def _varint(n: int) -> bytes:
    if n < 0x80:
        return bytes((n,))
    if n < 0x4000:
        return bytes((n & 0x7F | 0x80, n >> 7))
    if n < 0x200000:
        return bytes((n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14))
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _key(name: str) -> bytes:
    """Return the serialised key of an attribute; names are few, so each is encoded once."""
    known = _keys.get(name)
    if known is None:
        raw = name.encode("utf-8", "replace")
        known = b"\x0a" + _varint(len(raw)) + raw
        if len(_keys) < 4096:  # tags are the user's: a bound keeps them from growing this for ever
            _keys[name] = known
    return known


def _head(name: str, tag: bytes, size: int) -> bytes:
    """Return what stands before the bytes of a length-delimited attribute value."""
    key = _key(name)
    value_head = tag + _varint(size)
    any_head = b"\x12" + _varint(len(value_head) + size) + value_head
    return _ATTRIBUTE + _varint(len(key) + len(any_head) + size) + key + any_head


def _attribute(name: str, value: Scalar) -> bytes:
    key = _keys.get(name) or _key(name)
    if isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        size = len(raw)
        if len(key) + size < 0x7C:  # nearly all: every length below fits one byte, and one format is all it takes
            return b"\x4a%c%b\x12%c\x0a%c%b" % (len(key) + size + 4, key, size + 2, size, raw)
        return _head(name, b"\x0a", size) + raw
    if value is True or value is False:
        any_value = b"\x10\x01" if value else b"\x10\x00"
    elif isinstance(value, float):
        any_value = b"\x21" + _DOUBLE.pack(value)
    else:
        any_value = b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
    body = key + b"\x12" + _varint(len(any_value)) + any_value
    return _ATTRIBUTE + _varint(len(body)) + body


def attribute_bytes(attributes: Mapping[str, Scalar]) -> bytes:
    """Return attributes as serialised `Span.attributes` fields, to be put in front of a span's own."""
    return b"".join([_attribute(name, value) for name, value in attributes.items()])


def resource_bytes(attributes: Mapping[str, Scalar]) -> bytes:
    """Return a serialised OTLP Resource (KeyValues at field 1)."""
    parts: list[bytes] = []
    for name, value in attributes.items():
        field = _attribute(name, value)
        parts.append(b"\x0a" + field[1:])
    return b"".join(parts)


class WireSpan(msgspec.Struct, frozen=True):
    """A span's OTLP bytes in parts (large values are not copied together before the request is).

    Attributes:
        scope: the serialised InstrumentationScope that made it; b"" = none, as of our own.
    """

    resource: bytes
    parts: tuple[bytes, ...]
    size_bytes: int
    scope: bytes = b""


def wire_span(
    span: JournalSpan, writer: str, writer_seq: int, state: bytes = b"", links: Sequence[bytes] = ()
) -> WireSpan:
    """Return the OTLP bytes of a journal span.

    Args:
        span: the record.
        writer, writer_seq: who wrote it and its place among that writer's records; together its identity.
        state: the checkpoint's state, put in as the bytes attribute `livespan.state`; b"" for none.
        links: node ids (8 bytes) of the same trace that this span links to.

    A run's root that names its caller (`livespan.caller.*`) links to that span too, which is in another trace.
    """
    name = span.name.encode("utf-8", "replace")
    own = [
        b"\x0a\x10" + span.trace_id + b"\x12\x08" + span.node_id,
        b"\x22\x08" + span.parent_id if span.parent_id else b"",
        b"\x2a" + _varint(len(name)) + name,
        _INTERNAL_KIND,
        _TIMES.pack(0x39, span.started_ns, 0x41, span.ended_ns),
        span.fixed,
        *[_attribute(key, value) for key, value in span.attributes.items()],
        _attribute(names.WRITER, writer),
        _attribute(names.WRITER_SEQ, writer_seq),
        *[_LINK + span.trace_id + b"\x12\x08" + node for node in links],
        b"" if span.parent_id else _caller_link(span),
        _STATUS_ERROR if span.failed else b"",
    ]
    parts = [b"".join(own)]
    for key, raw in span.texts:
        parts += (_head(key, b"\x0a", len(raw)), raw)
    if state:
        parts += (_head(names.STATE, b"\x3a", len(state)), state)
    size = sum(map(len, parts))
    head = _SPAN_IN_SCOPE + _varint(size)
    return WireSpan(span.resource, (head, *parts), size + len(head))


def _caller_link(span: JournalSpan) -> bytes:
    """Return the link to the span that a run was opened in, from what its root says of it; b"" where it says none.

    It is made here, so that no record in the spool has a field for what one record of a life has.
    """
    trace_id, span_id = span.attributes.get(names.CALLER_TRACE_ID), span.attributes.get(names.CALLER_SPAN_ID)
    if not (isinstance(trace_id, str) and isinstance(span_id, str)):
        return b""
    return _LINK + bytes.fromhex(trace_id) + b"\x12\x08" + bytes.fromhex(span_id)


def export_request(spans: Sequence[WireSpan]) -> bytes:
    """Return the ExportTraceServiceRequest that holds `spans` in their order.

    Neighbours with the same resource and scope share one ResourceSpans, so order within a request is the order of the
    spans.
    """
    out: list[bytes] = []
    for resource, scope, group in _groups(spans):
        scope_field = b"\x0a" + _varint(len(scope)) + scope if scope else b""
        size = len(scope_field) + sum([span.size_bytes for span in group])
        scope_head = b"\x12" + _varint(size)
        resource_field = b"\x0a" + _varint(len(resource)) + resource
        out.append(b"\x0a" + _varint(len(resource_field) + len(scope_head) + size) + resource_field + scope_head)
        out.append(scope_field)
        for span in group:
            out.extend(span.parts)
    return b"".join(out)


def _groups(spans: Sequence[WireSpan]) -> Iterable[tuple[bytes, bytes, list[WireSpan]]]:
    group: list[WireSpan] = []
    for span in spans:
        if group and (group[0].resource != span.resource or group[0].scope != span.scope):
            yield group[0].resource, group[0].scope, group
            group = []
        group.append(span)
    if group:
        yield group[0].resource, group[0].scope, group
