"""Builders of OTLP requests that no decent client sends: by protobuf where it lets one, else byte by byte."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from tests.collector.stand import START_NS

from livespan.proto import attributes as names

__all__ = [
    "PROJECT",
    "any_of",
    "chain",
    "deep_bytes",
    "failed_root",
    "field_bytes",
    "kv",
    "linked",
    "links_to_nothing",
    "nested",
    "odd_enums",
    "ours",
    "raw_span",
    "request",
    "span",
]

PROJECT = "hostile"


def any_of(value: object) -> AnyValue:
    """Return a value as OTLP has it."""
    match value:
        case AnyValue():
            return value
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case _:
            return AnyValue(string_value=str(value))


def kv(key: str, value: object) -> KeyValue:
    return KeyValue(key=key, value=any_of(value))


def span(trace: bytes, number: int = 1, *attributes: KeyValue, name: str = "chat", **fields: object) -> Span:
    """Return an ordinary foreign span; `fields` are set on it as they are."""
    made = Span(
        trace_id=trace,
        span_id=number.to_bytes(8, "big"),
        name=name,
        start_time_unix_nano=START_NS,
        end_time_unix_nano=START_NS + 1_000_000,
        attributes=attributes,
    )
    for name_of, each in fields.items():
        setattr(made, name_of, each)
    return made


def request(*spans: Span, resource: tuple[KeyValue, ...] = ()) -> bytes:
    """Return the bytes of a request, of service `hostile` unless the resource says otherwise."""
    said = Resource(attributes=(kv(names.SERVICE_NAME, PROJECT), *resource))
    group = ResourceSpans(resource=said, scope_spans=[ScopeSpans(spans=spans)])
    return ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()


def raw_span(trace: bytes, body: bytes, resource: bytes = b"") -> bytes:
    """Return a request with one span whose further fields are these bytes."""
    ids = b"\x0a\x10" + trace + b"\x12\x08" + (1).to_bytes(8, "big")
    named = resource or Resource(attributes=[kv(names.SERVICE_NAME, PROJECT)]).SerializeToString()
    return field_bytes(1, field_bytes(1, named) + field_bytes(2, field_bytes(2, ids + body)))


def field_bytes(number: int, body: bytes) -> bytes:
    size, head = len(body), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes([number << 3 | 2]) + bytes(head) + body


def ours(trace: bytes, run_id: str, *attributes: KeyValue, resource: tuple[KeyValue, ...] = ()) -> bytes:
    """Return a span that pretends to be a record of a run of ours."""
    said = (kv(names.PROJECT, PROJECT), kv(names.RUN_ID, run_id), *resource)
    return request(span(trace, 1, *attributes), resource=said)


def nested(depth: int) -> AnyValue:
    """Return lists in lists."""
    value = AnyValue(string_value="bottom")
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def deep_bytes(trace: bytes, depth: int) -> bytes:
    """Return what `nested` would be, deeper than protobuf's own classes can build it."""
    value = b""
    for _ in range(depth):
        value = field_bytes(5, field_bytes(1, value))
    return raw_span(trace, field_bytes(9, field_bytes(1, b"deep") + field_bytes(2, value)))


def chain(trace: bytes, depth: int) -> bytes:
    return request(
        *[
            span(trace, number, parent_span_id=(number - 1).to_bytes(8, "big") if number > 1 else b"")
            for number in range(1, depth + 1)
        ]
    )


def odd_enums(trace: bytes) -> Span:
    odd = span(trace, 1)
    return Span.FromString(odd.SerializeToString() + b"\x30\x63" + b"\x7a\x02\x18\x4d")


def failed_root(trace: bytes) -> bytes:
    failed = span(trace, 1, kv(names.RECORD, "ended"), kv(names.ERROR_NODE, "zz,,\n"))
    failed.status.code = Status.STATUS_CODE_ERROR
    return request(failed, resource=(kv(names.PROJECT, PROJECT), kv(names.RUN_ID, "nobody")))


def linked(trace: bytes, count: int) -> Span:
    linked = span(trace)
    linked.links.extend([Span.Link(trace_id=trace, span_id=n.to_bytes(8, "big")) for n in range(1, count + 1)])
    return linked


def links_to_nothing(trace: bytes) -> Span:
    linked = span(trace)
    linked.links.extend([Span.Link(), Span.Link(trace_id=b"x", span_id=b"y" * 100)])
    return linked
