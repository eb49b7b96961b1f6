"""A span of the wire as the SDK's exporters take it: a `ReadableSpan`, with nothing lost but what they cannot say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope as SdkScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

__all__ = ["ResourceCache", "readable"]

_KINDS: Final = {kind.value + 1: kind for kind in SpanKind}
_STATUS: Final = {0: StatusCode.UNSET, 1: StatusCode.OK, 2: StatusCode.ERROR}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_RESOURCES: Final = 1000


class _Span(ReadableSpan):
    """A span that says how many attributes it lacks; the SDK reads that from a collection of its own."""

    dropped = 0

    @property
    def dropped_attributes(self) -> int:
        return self.dropped


class ResourceCache:
    """The SDK's resources of those on the wire: few, and asked for by each span."""

    def __init__(self) -> None:
        self._known: dict[bytes, SdkResource] = {}

    def get(self, resource: Resource) -> SdkResource:
        """Return the SDK's resource; equal ones are one object."""
        key = resource.SerializeToString(deterministic=True)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _RESOURCES:
                self._known.clear()
            known = self._known[key] = SdkResource(_attributes(resource.attributes))
        return known


def readable(resources: ResourceCache, resource: Resource, scope: InstrumentationScope, span: Span) -> ReadableSpan:
    """Return the span for `SpanExporter.export`."""
    status = _STATUS.get(span.status.code, StatusCode.UNSET)
    made = _Span(
        name=span.name,
        context=_context(span.trace_id, span.span_id, span.trace_state),
        parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        resource=resources.get(resource),
        attributes=_attributes(span.attributes),
        events=[Event(event.name, _attributes(event.attributes), event.time_unix_nano) for event in span.events],
        links=[
            Link(_context(link.trace_id, link.span_id, link.trace_state), _attributes(link.attributes))
            for link in span.links
        ],
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        status=Status(status, span.status.message if status is StatusCode.ERROR else None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=SdkScope(scope.name, scope.version or None),
    )
    made.dropped = span.dropped_attributes_count
    return made


def _context(trace_id: bytes, span_id: bytes, state: str = "") -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=False,
        trace_flags=_SAMPLED,
        trace_state=TraceState.from_header([state]) if state else None,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case _:
            return ""
