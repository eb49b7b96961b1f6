"""Foreign spans by hand, for tests of what they are read as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

__all__ = ["any_value", "foreign_span"]


def any_value(value: object) -> AnyValue:
    """Return a Python value as OTLP has it."""
    told = AnyValue()
    match value:
        case None:
            pass
        case bool():
            told.bool_value = value
        case str():
            told.string_value = value
        case int():
            told.int_value = value
        case float():
            told.double_value = value
        case bytes():
            told.bytes_value = value
        case list() | dict():
            _fill(told, value)
        case _:
            raise TypeError(type(value))
    return told


def _fill(told: AnyValue, value: Any) -> None:
    if isinstance(value, list):
        told.array_value.values.extend([any_value(item) for item in cast("list[object]", value)])
        return
    told.kvlist_value.SetInParent()
    for key, item in value.items():
        told.kvlist_value.values.add(key=key).value.CopyFrom(any_value(item))


def foreign_span(
    attributes: Mapping[str, object] | None = None,
    *,
    name: str = "a span",
    node: int = 1,
    parent: int = 0,
    error: str = "",
    exception: Mapping[str, object] | None = None,
) -> Span:
    """Return a span of trace tttt...; `error` is its status's message, "" = it went well."""
    span = Span(trace_id=b"t" * 16, span_id=node.to_bytes(8, "big"), name=name)
    span.parent_span_id = parent.to_bytes(8, "big") if parent else b""
    span.start_time_unix_nano = 1_769_850_000_000_000_000 + node * 1_000_000
    span.end_time_unix_nano = span.start_time_unix_nano + 500_000
    for key, value in (attributes or {}).items():
        span.attributes.add(key=key).value.CopyFrom(any_value(value))
    if error:
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, error
    if exception is not None:
        event = span.events.add(name="exception")
        for key, value in exception.items():
            event.attributes.add(key=key).value.CopyFrom(any_value(value))
    return span
