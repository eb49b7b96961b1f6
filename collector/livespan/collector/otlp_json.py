"""OTLP's JSON form to the protobuf bytes that the log keeps, so that what is stored does not tell how it came.

The rules are the OTLP specification's (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding"), which
differ from plain ProtoJSON: trace and span ids are hex of any case, enums are numbers and never names, keys are
lowerCamelCase, unknown ones are ignored. As in ProtoJSON, 64-bit integers are numbers or strings, bytes are base64,
and null stands for a field that is not set.

A lone surrogate, which JSON can spell and UTF-8 cannot hold, becomes "?"; the span is worth more than the half of a
character.
"""

from __future__ import annotations

import base64
import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from typing import Final, TypeAlias, cast

import msgspec
from google.protobuf.message import DecodeError, EncodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from livespan.proto.errors import InvalidInput

__all__ = ["from_json"]

_Integer: TypeAlias = int | str | None
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_MOST_OBJECTS: Final = 500_000
_MOST_SPANS: Final = 131_072
"""With their groups; as many spans as protobuf may hold (proto/otlp.py). Each takes tens of microseconds to convert."""
_SURROGATES: Final = re.compile(
    rb"(?<!\\)(?P<before>(?:\\\\)*+)"  # an even number of backslashes stands for half as many
    rb"\\u(?:(?P<pair>[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_URL_SAFE: Final = str.maketrans("-_", "+/")
_HINT: Final = "Send JSON as the OTLP specification defines it: hex ids, numeric enums, lowerCamelCase keys."


class _Json(msgspec.Struct, frozen=True, rename="camel"):
    """What all messages share: absent and null are one, unknown keys are ignored."""


class _Value(_Json, frozen=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Integer = None
    double_value: float | str | None = None
    array_value: _Values | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Values(_Json, frozen=True):
    values: list[_Value] | None = None


class _Pair(_Json, frozen=True):
    key: str | None = None
    value: _Value | None = None


class _Pairs(_Json, frozen=True):
    values: list[_Pair] | None = None


class _Status(_Json, frozen=True):
    message: str | None = None
    code: int | None = None


class _Event(_Json, frozen=True):
    time_unix_nano: _Integer = None
    name: str | None = None
    attributes: list[_Pair] | None = None
    dropped_attributes_count: _Integer = None


class _Link(_Json, frozen=True):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    attributes: list[_Pair] | None = None
    dropped_attributes_count: _Integer = None
    flags: _Integer = None


class _Span(_Json, frozen=True):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    parent_span_id: str | None = None
    flags: _Integer = None
    name: str | None = None
    kind: int | None = None
    start_time_unix_nano: _Integer = None
    end_time_unix_nano: _Integer = None
    attributes: list[_Pair] | None = None
    dropped_attributes_count: _Integer = None
    events: list[_Event] | None = None
    dropped_events_count: _Integer = None
    links: list[_Link] | None = None
    dropped_links_count: _Integer = None
    status: _Status | None = None


class _Scope(_Json, frozen=True):
    name: str | None = None
    version: str | None = None
    attributes: list[_Pair] | None = None
    dropped_attributes_count: _Integer = None


class _ScopeSpans(_Json, frozen=True):
    scope: _Scope | None = None
    spans: list[_Span] | None = None
    schema_url: str | None = None


class _Resource(_Json, frozen=True):
    attributes: list[_Pair] | None = None
    dropped_attributes_count: _Integer = None


class _ResourceSpans(_Json, frozen=True):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None
    schema_url: str | None = None


class _Request(_Json, frozen=True):
    resource_spans: list[_ResourceSpans] | None = None


_decode = msgspec.json.Decoder(_Request).decode


def from_json(body: bytes) -> bytes:
    """Return the serialised ExportTraceServiceRequest that a JSON body stands for.

    Raises:
        InvalidInput: it is no such JSON; the message says where.
    """
    # Three bytes are enough for an empty object that costs hundreds in memory. Braces in texts are counted with them.
    if body.count(b"{") > _MOST_OBJECTS:
        raise InvalidInput(
            f"the JSON body has more than {_MOST_OBJECTS} objects", hint="Send fewer spans at once, or protobuf."
        )
    try:
        request = _decoded(body)
        if _size(request) > _MOST_SPANS:
            raise InvalidInput(
                f"the JSON body has more than {_MOST_SPANS} spans and groups of spans", hint="Send fewer at once."
            )
        groups = [_resource_spans(group) for group in request.resource_spans or ()]
        return ExportTraceServiceRequest(resource_spans=groups).SerializeToString()
    except RecursionError as error:
        raise InvalidInput("the JSON body is nested too deeply", hint="Values may be nested 100 deep.") from error
    except (DecodeError, EncodeError) as error:
        raise InvalidInput("a value of the JSON body is nested too deeply or is no UTF-8", hint=_HINT) from error
    except (ValueError, msgspec.DecodeError) as error:  # UnicodeDecodeError is a ValueError too
        raise InvalidInput(f"the body is not OTLP's JSON: {error}", hint=_HINT) from error


def _size(request: _Request) -> int:
    """Return the number of spans and of what groups them."""
    scopes = [scope for group in request.resource_spans or () for scope in group.scope_spans or ()]
    return len(request.resource_spans or ()) + len(scopes) + sum([len(scope.spans or ()) for scope in scopes])


def _decoded(body: bytes) -> _Request:
    try:
        return _decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # A lone surrogate is what JSON allows and msgspec refuses as malformed.
        mended = _SURROGATES.sub(_mended, body.removeprefix(BOM_UTF8))
        if mended == body:
            raise
        return _decode(mended)


def _mended(found: re.Match[bytes]) -> bytes:
    """Return two halves of a character as they are, and one alone as "?"."""
    return found[0] if found["pair"] else found["before"] + b"?"


def _resource_spans(group: _ResourceSpans) -> ResourceSpans:
    resource = group.resource
    return ResourceSpans(
        resource=Resource(
            attributes=_pairs(resource.attributes),
            dropped_attributes_count=_uint(resource.dropped_attributes_count, 32),
        )
        if resource
        else None,
        scope_spans=[_scope_spans(each) for each in group.scope_spans or ()],
        schema_url=group.schema_url or "",
    )


def _scope_spans(group: _ScopeSpans) -> ScopeSpans:
    scope = group.scope
    return ScopeSpans(
        scope=InstrumentationScope(
            name=scope.name or "",
            version=scope.version or "",
            attributes=_pairs(scope.attributes),
            dropped_attributes_count=_uint(scope.dropped_attributes_count, 32),
        )
        if scope
        else None,
        spans=[_span(span) for span in group.spans or ()],
        schema_url=group.schema_url or "",
    )


def _span(span: _Span) -> Span:
    return Span(
        trace_id=_hex(span.trace_id),
        span_id=_hex(span.span_id),
        trace_state=span.trace_state or "",
        parent_span_id=_hex(span.parent_span_id),
        flags=_uint(span.flags, 32),
        name=span.name or "",
        kind=_kind(span.kind),
        start_time_unix_nano=_uint(span.start_time_unix_nano, 64),
        end_time_unix_nano=_uint(span.end_time_unix_nano, 64),
        attributes=_pairs(span.attributes),
        dropped_attributes_count=_uint(span.dropped_attributes_count, 32),
        events=[_event(event) for event in span.events or ()],
        dropped_events_count=_uint(span.dropped_events_count, 32),
        links=[_link(link) for link in span.links or ()],
        dropped_links_count=_uint(span.dropped_links_count, 32),
        status=Status(message=span.status.message or "", code=_code(span.status.code)) if span.status else None,
    )


def _event(event: _Event) -> Span.Event:
    return Span.Event(
        time_unix_nano=_uint(event.time_unix_nano, 64),
        name=event.name or "",
        attributes=_pairs(event.attributes),
        dropped_attributes_count=_uint(event.dropped_attributes_count, 32),
    )


def _link(link: _Link) -> Span.Link:
    return Span.Link(
        trace_id=_hex(link.trace_id),
        span_id=_hex(link.span_id),
        trace_state=link.trace_state or "",
        attributes=_pairs(link.attributes),
        dropped_attributes_count=_uint(link.dropped_attributes_count, 32),
        flags=_uint(link.flags, 32),
    )


def _pairs(pairs: Iterable[_Pair] | None) -> list[KeyValue]:
    return [KeyValue(key=pair.key or "", value=_value(pair.value) if pair.value else None) for pair in pairs or ()]


def _value(value: _Value) -> AnyValue:
    if value.string_value is not None:
        return AnyValue(string_value=value.string_value)
    if value.bool_value is not None:
        return AnyValue(bool_value=value.bool_value)
    if value.int_value is not None:
        return AnyValue(int_value=_integer(value.int_value, -(1 << 63), (1 << 63) - 1))
    if value.double_value is not None:
        return AnyValue(double_value=float(value.double_value))  # "NaN", "Infinity", "-Infinity" are its words too
    if value.array_value is not None:
        return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value.array_value.values or ()]))
    if value.kvlist_value is not None:
        return AnyValue(kvlist_value=KeyValueList(values=_pairs(value.kvlist_value.values)))
    if value.bytes_value is not None:
        return AnyValue(bytes_value=_base64(value.bytes_value))
    return AnyValue()


def _hex(text: str | None) -> bytes:
    if not text:
        return b""
    found = bytes.fromhex(text)
    if len(found) * 2 != len(text):  # fromhex passes over blanks
        raise ValueError(f"an id with blanks in it: {text!r}")
    return found


def _base64(text: str) -> bytes:
    """Return bytes from base64 of either alphabet, padded or not, as ProtoJSON has it."""
    standard = text.translate(_URL_SAFE).rstrip("=")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _uint(value: _Integer, bits: int) -> int:
    return _integer(value, 0, (1 << bits) - 1) if value is not None else 0


def _kind(value: int | None) -> Span.SpanKind.ValueType:
    return cast("Span.SpanKind.ValueType", _enum(value))  # an open enum: numbers of later versions are kept


def _code(value: int | None) -> Status.StatusCode.ValueType:
    return cast("Status.StatusCode.ValueType", _enum(value))


def _enum(value: int | None) -> int:
    return _integer(value, -(1 << 31), (1 << 31) - 1) if value is not None else 0


def _integer(value: int | str, least: int, most: int) -> int:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is no integer")
        value = int(value)
    if not least <= value <= most:
        raise ValueError(f"{str(value)[:40]} is out of range")
    return value
