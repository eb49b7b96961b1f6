"""From records to spans: of our own nodes one span each, made of its end and of what its start said; of others', the
span as it came.

    started     remembered, not sent          ended       sent, with what only the start said (input, call id, begin)
    settled     sent where no end was         checkpoint, gap, lease, attempt   not sent: they are no steps
    foreign     sent                          states      never sent

A node whose start is not remembered (it was too long ago) is sent without its input, and begins when it ended if it
is a scope.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from livespan.proto import attributes as names
from livespan.proto.node import NodeType
from livespan.proto.otlp import Request
from livespan.proto.record import RecordKind

__all__ = ["Completer", "Outgoing"]

Outgoing: TypeAlias = tuple[Resource, InstrumentationScope, Span]
_Node: TypeAlias = tuple[bytes, bytes]

_INTERNAL: Final = frozenset(
    {
        names.RECORD,
        names.WRITER,
        names.WRITER_SEQ,
        names.STATE,
        names.STATE_DIGEST,
        names.ERROR_VALUE,
        names.CHECKPOINT_COUNTERS,
    }
)
_EXCEPTION: Final = (names.ERROR_TYPE, names.ERROR_MESSAGE, names.ERROR_TRACEBACK)
_OURS: Final = frozenset(kind.value for kind in RecordKind if kind is not RecordKind.FOREIGN)
_START_BYTES: Final = 32 * 1024 * 1024
_SCOPES: Final = 50_000
_SENT: Final = 100_000
_VALUE_BYTES: Final = 1024 * 1024
"""A backend takes a few megabytes a request: larger values stay here, and the span says how many it lacks."""


class Completer:
    """Makes the spans of one collector's requests, in their order. One thread's.

    Attributes:
        unknown_starts: ends whose start was not remembered.
        left_out_values: values that were too large to send.
        repeated: spans that had been sent before.
    """

    def __init__(self, start_bytes: int = _START_BYTES) -> None:
        self.unknown_starts = 0
        self.left_out_values = 0
        self.repeated = 0
        self._start_limit_bytes = start_bytes
        self._start_bytes = 0
        self._starts: OrderedDict[_Node, Span] = OrderedDict()
        self._scopes: OrderedDict[_Node, Span] = OrderedDict()
        self._sent: OrderedDict[tuple[bytes, bytes, int], None] = OrderedDict()

    def learn(self, request: Request) -> None:
        """Remember the started records of a request that is not to be sent."""
        for _, _, span in request.spans():
            record = _text(span, names.RECORD)
            if record == RecordKind.STARTED:
                self._remember(span)
            elif record in (RecordKind.ENDED, RecordKind.SETTLED):
                self._forget(_node(span))

    def spans(self, request: Request) -> Iterator[Outgoing]:
        """Yield the spans of a request that go to the backend."""
        for resource, scope, span in request.spans():
            made = self._span(span, bool(_resource_text(resource, names.RUN_ID)))
            if made is None:
                continue
            key = (made.trace_id, made.span_id, made.end_time_unix_nano)
            if key in self._sent:
                self.repeated += 1
                continue
            self._sent[key] = None
            if len(self._sent) > _SENT:
                self._sent.popitem(last=False)
            session = _resource_text(resource, names.SESSION)
            if session and not _text(made, names.SESSION):
                made.attributes.append(_pair(names.SESSION, session))
            yield resource, scope, made

    def _span(self, span: Span, in_run: bool) -> Span | None:
        record = _text(span, names.RECORD) if in_run else ""
        if record not in _OURS:
            return self._copy(span)
        if record == RecordKind.STARTED:
            self._remember(span)
            return None
        if record not in (RecordKind.ENDED, RecordKind.SETTLED):
            return None
        start = self._forget(_node(span))
        if start is None:
            if record == RecordKind.SETTLED:
                return None  # its end was sent
            self.unknown_starts += 1
        made = self._copy(span, start)
        if start is not None:
            made.parent_span_id = start.parent_span_id
            made.name = start.name
            made.start_time_unix_nano = start.start_time_unix_nano  # a scope's end, and a settlement, do not know it
        made.start_time_unix_nano = made.start_time_unix_nano or made.end_time_unix_nano
        made.end_time_unix_nano = max(made.end_time_unix_nano, made.start_time_unix_nano)
        _tell_error(made)
        if not made.parent_span_id and not _text(made, names.OPERATION):
            made.attributes.append(_pair(names.OPERATION, "invoke_agent"))
        return made

    def _copy(self, span: Span, start: Span | None = None) -> Span:
        """Return a span with its attributes and those of its start that it lacks, but for what is not sent."""
        made = Span()
        made.CopyFrom(span)
        del made.attributes[:]
        seen: set[str] = set()
        for source in (span, start) if start is not None else (span,):
            for pair in source.attributes:
                if pair.key in seen or pair.key in _INTERNAL:
                    continue
                seen.add(pair.key)
                if pair.value.ByteSize() > _VALUE_BYTES:
                    self.left_out_values += 1
                    made.dropped_attributes_count += 1
                    continue
                made.attributes.append(pair)
        return made

    def _remember(self, span: Span) -> None:
        node = _node(span)
        if _text(span, names.NODE_TYPE) == NodeType.BRANCH:
            self._scopes.setdefault(node, _own_copy(span))  # a scope begins once, in whichever life
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
            return
        self._drop(node)
        kept = _own_copy(span)
        self._starts[node] = kept
        self._start_bytes += kept.ByteSize()
        while self._start_bytes > self._start_limit_bytes:
            self._drop(next(iter(self._starts)))

    def _forget(self, node: _Node) -> Span | None:
        return self._drop(node) or self._scopes.get(node)

    def _drop(self, node: _Node) -> Span | None:
        start = self._starts.pop(node, None)
        if start is not None:
            self._start_bytes -= start.ByteSize()
        return start


def _own_copy(span: Span) -> Span:
    kept = Span()
    kept.CopyFrom(span)
    return kept


def _tell_error(span: Span) -> None:
    """Say a failure as OpenTelemetry does: in the status, and as an event `exception`."""
    if span.status.code != Status.STATUS_CODE_ERROR:
        return
    told = {name: _text(span, name) for name in _EXCEPTION}
    span.status.message = told[names.ERROR_MESSAGE]
    event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
    event.attributes.append(_pair("exception.type", told[names.ERROR_TYPE]))
    for name in _EXCEPTION[1:]:
        if told[name]:
            event.attributes.append(_pair(name, told[name]))
    kept = [pair for pair in span.attributes if pair.key not in _EXCEPTION[1:]]
    del span.attributes[:]
    span.attributes.extend(kept)


def _node(span: Span) -> _Node:
    return span.trace_id, span.span_id


def _text(span: Span, name: str) -> str:
    return next((pair.value.string_value for pair in span.attributes if pair.key == name), "")


def _resource_text(resource: Resource, name: str) -> str:
    return next((pair.value.string_value for pair in resource.attributes if pair.key == name), "")


def _pair(name: str, text: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=text))
