"""Which requests, resources and spans can be stored as they are, and why others are refused.

    a request    too many spans or messages for its size to mean anything        refused whole (INVALID_ARGUMENT)
    a resource   names the run, or says numbers of it, that no table can hold    each of its spans (partial success)
    a span       has ids that OTLP does not allow                                that span (partial success)

What is odd and can be stored is stored: unknown kinds and codes, times beyond 2262, names of any length, cycles.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from livespan.proto import attributes as names
from livespan.proto.errors import InvalidInput
from livespan.proto.wire_count import count_messages

__all__ = ["MAX_MESSAGES", "MAX_SPANS", "check_size", "check_spans", "resource_refusal", "span_refusal"]

MAX_SPANS: Final = 1 << 17
"""Of one request; exporters send 512."""
MAX_MESSAGES: Final = 4_000_000
"""Spans, links, events, attributes and values of one request: 64 MB of ordinary spans have half as many."""
_COUNTED_BYTES: Final = 4 * 1024 * 1024
"""A smaller request cannot grow to more than a few hundred megabytes, and is not walked."""
_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)
_GREATEST: Final = (1 << 53) - 1
_NUMBERS: Final = frozenset({names.GENERATION, names.ATTEMPT, names.EPOCH})
_TEXTS: Final = frozenset({names.PROJECT, names.RUN_ID, names.SESSION, names.WRITER, names.SERVICE_NAME})
_SMALLER: Final = "Send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE."


def check_size(payload: bytes) -> None:
    """Refuse a request that would cost far more in memory than its bytes.

    Raises:
        InvalidInput: it holds more than MAX_MESSAGES messages.
    """
    if len(payload) > _COUNTED_BYTES and count_messages(payload, MAX_MESSAGES) > MAX_MESSAGES:
        raise InvalidInput(f"the request has more than {MAX_MESSAGES:,} spans, links and values", hint=_SMALLER)


def check_spans(count: int) -> None:
    """Refuse a request of too many spans.

    Raises:
        InvalidInput: there are more than MAX_SPANS.
    """
    if count > MAX_SPANS:
        raise InvalidInput(f"the request has {count:,} spans, and {MAX_SPANS:,} may come at once", hint=_SMALLER)


def resource_refusal(resource: Resource) -> str:
    """Return why no span of this resource can be stored, "" where it can.

    What names a run stands in each of its rows, so all of it together is as long as one small value at most.
    """
    size = 0
    for pair in resource.attributes:
        name = pair.key
        if name in _NUMBERS:
            number = pair.value.int_value
            if (not number and pair.value.WhichOneof("value") != "int_value") or not 0 <= number <= _GREATEST:
                return f"{name} must be an integer from 0 to 2^53 - 1"
        elif name in _TEXTS:
            size += len(pair.value.string_value.encode())
        elif name.startswith(names.TAG_PREFIX):
            size += len(name.encode()) - len(names.TAG_PREFIX) + len(pair.value.string_value.encode())
    if size > names.LARGE_BYTES:
        return f"project, run, session and tags have {size} bytes together, and at most {names.LARGE_BYTES} are kept"
    return ""


def span_refusal(span: Span) -> str:
    """Return why a span cannot be stored, "" where it can."""
    trace_id, span_id = span.trace_id, span.span_id  # each time they are asked for, they are copied
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return "trace_id must be 16 bytes, not all zero"
    if len(span_id) != 8 or span_id == _NO_SPAN:
        return "span_id must be 8 bytes, not all zero"
    if len(span.parent_span_id) not in (0, 8):
        return "parent_span_id must be 8 bytes, or empty"
    return ""
