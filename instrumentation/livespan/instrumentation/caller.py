"""Whose span was open when a run was opened: a run has a trace of its own, which is linked to its caller's, not joined.

Only the place is noted. Nothing is taken over from the caller: no sampling, no baggage, no parent.
"""

from __future__ import annotations

from opentelemetry import trace

from livespan.proto import attributes as names
from livespan.proto.span import Scalar

__all__ = ["caller_attributes"]


def caller_attributes() -> dict[str, Scalar]:
    """Return the attributes that name the current OpenTelemetry span; none where there is no valid one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        names.CALLER_TRACE_ID: trace.format_trace_id(context.trace_id),
        names.CALLER_SPAN_ID: trace.format_span_id(context.span_id),
    }
