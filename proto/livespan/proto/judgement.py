"""The spans of a request, judged: which can be stored, with what they came under, and why the others cannot.

Each span is looked at once, by the rules of acceptance.py, and kept: to reach it through the message is what costs.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from livespan.proto.acceptance import resource_refusal, span_refusal

__all__ = ["Found", "Judgement", "Refusal", "judge"]


class Refusal(msgspec.Struct, frozen=True):
    """One span that cannot be stored, and why."""

    span: int
    reason: str


class Found(NamedTuple):
    """A span that can be stored: its number in the request, and what it came under."""

    number: int
    resource: Resource
    scope: InstrumentationScope
    span: Span


class Judgement(NamedTuple):
    """The spans of a request that can be stored, in wire order, and the others."""

    found: list[Found]
    refusals: list[Refusal]


def judge(message: ExportTraceServiceRequest) -> Judgement:
    """Judge each span of a request."""
    found: list[Found] = []
    refusals: list[Refusal] = []
    number = 0
    for group in message.resource_spans:
        resource = group.resource
        refused = resource_refusal(resource)
        for scoped in group.scope_spans:
            scope = scoped.scope
            for span in scoped.spans:
                reason = refused or span_refusal(span)
                if reason:
                    refusals.append(Refusal(number, reason))
                else:
                    found.append(Found(number, resource, scope, span))
                number += 1
    return Judgement(found, refusals)
