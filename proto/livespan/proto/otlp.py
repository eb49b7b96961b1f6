"""OTLP bytes to records: the one parser of everything that reaches the log, ours or foreign.

A request is parsed and validated whole before it is appended, so that a refusal is honest. `log_seq` counts *every*
span of a request in wire order, refused ones too: record i of a frame that begins at `first` has `first + i`, whoever
reads the frame.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from livespan.proto import attributes as names
from livespan.proto.acceptance import check_size, check_spans
from livespan.proto.any_value import json_text
from livespan.proto.errors import InvalidInput
from livespan.proto.foreign import foreign_node
from livespan.proto.foreign.node import Scalar
from livespan.proto.judgement import Judgement, Refusal, judge
from livespan.proto.record import AttributeValue, Large, Record, RecordKind

__all__ = ["Refusal", "Request"]

_KINDS: Final[dict[str, RecordKind]] = {kind.value: kind for kind in RecordKind if kind is not RecordKind.FOREIGN}
_RESOURCE_NAMES: Final = frozenset(
    {names.PROJECT, names.RUN_ID, names.GENERATION, names.SESSION, names.ATTEMPT, names.EPOCH, names.SERVICE_NAME}
)
_RAW: Final = "raw"
_WRITTEN_BY: Final = (names.WRITER, names.WRITER_SEQ)
"""A record's own fields, which stand among its attributes on the wire alone."""
_NO_PARENT: Final = bytes(8)
_STRUCTURED: Final = frozenset({"array_value", "kvlist_value"})
_SURELY_SMALL: Final = names.LARGE_BYTES // 4
"""Characters; a text of so many has no more bytes than a large value, whatever they are."""


class _Life(msgspec.Struct, frozen=True):
    """What a resource says of all its records."""

    project: str
    run_id: str
    generation: int
    session: str
    attempt: int
    epoch: int
    writer: str
    tags: dict[str, str]


class Request:
    """A parsed ExportTraceServiceRequest. One thread at a time.

    Raises:
        InvalidInput: the bytes are no such message, or hold far too many (acceptance.py).
    """

    __slots__ = ("_count", "_known", "_made", "_message")

    def __init__(self, payload: bytes) -> None:
        check_size(payload)
        try:
            self._message = ExportTraceServiceRequest.FromString(payload)
        except (DecodeError, RuntimeError) as error:
            raise InvalidInput(
                "the body is not an OTLP ExportTraceServiceRequest",
                hint="Send protobuf as OTLP/gRPC or OTLP/HTTP define it.",
            ) from error
        self._count = sum([len(scope.spans) for group in self._message.resource_spans for scope in group.scope_spans])
        check_spans(self._count)
        self._known: Judgement | None = None
        self._made: list[Record] | None = None

    def count(self) -> int:
        """Return the number of spans, refused ones included."""
        return self._count

    def refusals(self) -> list[Refusal]:
        """Return the spans that cannot be stored, with the reason (acceptance.py)."""
        return list(self._judged().refusals)

    def records(self, first_seq: int) -> list[Record]:
        """Return the records of all spans that can be stored, `log_seq` counted from `first_seq`."""
        made, self._made = self._made, None
        if made is None:
            made = self._make()
        for record in made:
            msgspec.structs.force_setattr(record, "log_seq", first_seq + record.log_seq)  # nobody has seen it yet
        return made

    def _make(self) -> list[Record]:
        """Return the records, numbered from 0."""
        found: list[Record] = []
        life: _Life | None = None
        last: Resource | None = None
        for index, resource, scope, span in self._judged().found:
            if life is None or resource is not last:
                life, last = _life(resource), resource
            found.append(_record(index, index, life, span, scope.name))
        return found

    def large(self, span: int, name: str) -> bytes:
        """Return the bytes that a `Large` stands for: attribute `name` of the record of span number `span` ("raw":
        the span itself).
        """
        for index, resource, scope, candidate in self._judged().found:
            if index != span:
                continue
            if name == _RAW:
                return candidate.SerializeToString()
            if _is_foreign(candidate, _life(resource).run_id):
                told = foreign_node(candidate, scope.name).attributes()
                if name in told:
                    return _told_bytes(told[name])
                break
            for pair in reversed(candidate.attributes):
                if pair.key == name:
                    return _bytes(pair.value)
        raise InvalidInput(f"the request holds no attribute {name!r} at span {span}")

    def larges(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield (span, attribute name, bytes) of each value that `records` leaves as `Large`, in wire order."""
        last: Resource | None = None
        run_id = ""
        for index, resource, scope, span in self._judged().found:
            if resource is not last:
                last, run_id = resource, _life(resource).run_id
            if _is_foreign(span, run_id):
                for name, told in foreign_node(span, scope.name).attributes().items():
                    if type(_small(index, name, told)) is Large:
                        yield index, name, _told_bytes(told)
                yield index, _RAW, span.SerializeToString()
                continue
            for name, raw in _own_larges(span).items():
                if name not in _WRITTEN_BY:
                    yield index, name, raw

    def kinds(self) -> Iterator[tuple[int, RecordKind]]:
        """Yield the number and kind of each span that can be stored, by their records, which are kept for `records`.

        What no record can be made of is told by its span.
        """
        try:
            if self._made is None:
                self._made = self._make()
        except Exception:  # noqa: BLE001  # a border: a bug in reading what a span says must not keep it from the log
            yield from self._span_kinds()
        else:
            for record in self._made:
                yield record.log_seq, record.kind

    def _span_kinds(self) -> Iterator[tuple[int, RecordKind]]:
        last: Resource | None = None
        run_id = ""
        for index, resource, _, span in self._judged().found:
            if resource is not last:
                last, run_id = resource, _life(resource).run_id
            yield index, _kind(_record_word(span), run_id)

    def without(self, spans: Container[int]) -> bytes:
        """Return the bytes of this request without the spans of these numbers; what is left is numbered anew."""
        rest = ExportTraceServiceRequest()
        rest.CopyFrom(self._message)
        index = 0
        for group in rest.resource_spans:
            for scope in group.scope_spans:
                kept = [span for number, span in enumerate(scope.spans, index) if number not in spans]
                index += len(scope.spans)
                if len(kept) < len(scope.spans):
                    whole = [Span.FromString(span.SerializeToString()) for span in kept]
                    del scope.spans[:]
                    scope.spans.extend(whole)
        return rest.SerializeToString()

    def spans(self) -> Iterator[tuple[Resource, InstrumentationScope, Span]]:
        """Yield the spans that can be stored, with what they came under; they belong to this request."""
        for _, resource, scope, span in self._judged().found:
            yield resource, scope, span

    def _judged(self) -> Judgement:
        """Return which spans can be stored; each is looked at once, and kept, since to reach it is what costs."""
        if self._known is None:
            self._known = judge(self._message)
        return self._known


def _kind(told: str, run_id: str) -> RecordKind:
    """Return what a span is: a record of ours names its run, whatever else it says of itself."""
    return _KINDS.get(told, RecordKind.FOREIGN) if run_id else RecordKind.FOREIGN


def _record_word(span: Span) -> str:
    """Return which record a span says to be; of a name that comes twice, the last counts."""
    for pair in reversed(span.attributes):
        if pair.key == names.RECORD:
            return pair.value.string_value
    return ""


def _is_foreign(span: Span, run_id: str) -> bool:
    return not run_id or _kind(_record_word(span), run_id) is RecordKind.FOREIGN


def _own_larges(span: Span) -> dict[str, bytes]:
    """Return the large values of a record of ours, by attribute."""
    found: dict[str, bytes] = {}
    for pair in span.attributes:
        name, value = pair.key, pair.value
        if found:
            found.pop(name, None)  # of a name that comes twice, the last counts
        text = value.string_value
        if text:
            if len(text) > _SURELY_SMALL:
                raw = text.encode()
                if len(raw) > names.LARGE_BYTES:
                    found[name] = raw
            continue
        raw = value.bytes_value
        if raw:
            if len(raw) > names.LARGE_BYTES or name == names.STATE:
                found[name] = raw
            continue
        kind = value.WhichOneof("value")
        if kind in _STRUCTURED:
            raw = json_text(value).encode()
            if len(raw) > names.LARGE_BYTES:
                found[name] = raw
        elif name == names.STATE and kind == "bytes_value":
            found[name] = b""
    return found


def _told_bytes(value: Scalar) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _bytes(value: AnyValue) -> bytes:
    kind = value.WhichOneof("value")
    if kind in _STRUCTURED:
        return json_text(value).encode()
    return value.bytes_value if kind == "bytes_value" else value.string_value.encode()


def _value(index: int, name: str, value: AnyValue) -> AttributeValue:
    text = value.string_value  # asked first: most values are texts, and a field that is set needs no WhichOneof
    if text:
        return _small(index, name, text)
    number = value.int_value
    if number:
        return number
    kind = value.WhichOneof("value")
    if kind == "string_value" or kind is None:
        return ""
    if kind == "int_value":
        return 0
    if kind == "bool_value":
        return value.bool_value
    if kind == "double_value":
        return value.double_value
    if kind == "bytes_value":
        return _small(index, name, value.bytes_value)
    return _small(index, name, json_text(value))


def _small(index: int, name: str, value: Scalar) -> AttributeValue:
    """Return a value that a record may hold: what is large, and every state, stays where it lies."""
    if isinstance(value, str) and len(value) > _SURELY_SMALL:
        size = len(value.encode())
        return Large(index, size) if size > names.LARGE_BYTES else value
    if isinstance(value, bytes) and (name == names.STATE or len(value) > names.LARGE_BYTES):
        return Large(index, len(value))
    return value


def _life(resource: Resource) -> _Life:
    tags: dict[str, str] = {}
    found: dict[str, AttributeValue] = {}
    for pair in resource.attributes:
        if pair.key.startswith(names.TAG_PREFIX):
            tags[pair.key[len(names.TAG_PREFIX) :]] = pair.value.string_value
        else:
            found[pair.key] = _value(0, pair.key, pair.value)
    return _Life(
        project=_text(found, names.PROJECT) or _text(found, names.SERVICE_NAME),
        run_id=_text(found, names.RUN_ID),
        generation=_int(found, names.GENERATION),
        session=_text(found, names.SESSION),
        attempt=_int(found, names.ATTEMPT),
        epoch=_int(found, names.EPOCH),
        writer=_text(found, names.WRITER),
        tags=tags,
    )


def _text(found: dict[str, AttributeValue], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _int(found: dict[str, AttributeValue], name: str) -> int:
    value = found.get(name)
    return value if type(value) is int else 0


def _record(index: int, log_seq: int, life: _Life, span: Span, scope: str) -> Record:
    if not life.run_id:
        return _foreign(index, log_seq, life, span, scope)
    attributes: dict[str, AttributeValue] = {}
    for pair in span.attributes:
        name, value = pair.key, pair.value
        text = value.string_value
        # What nearly all of them are, without a call: 12,000 records a second have ten attributes each.
        attributes[name] = text if text and len(text) <= _SURELY_SMALL else _value(index, name, value)
    kind = _kind(_text(attributes, names.RECORD), life.run_id)
    if kind is RecordKind.FOREIGN:
        return _foreign(index, log_seq, life, span, scope)
    writer = attributes.pop(names.WRITER, life.writer)
    writer_seq = attributes.pop(names.WRITER_SEQ, 0)
    return Record(
        kind=kind,
        project=life.project,
        run_id=life.run_id,
        generation=life.generation,
        trace_id=span.trace_id,
        node_id=span.span_id,
        parent_id=_parent(span),
        name=span.name,
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=attributes,
        session=life.session,
        tags=life.tags,
        attempt=life.attempt,
        epoch=life.epoch,
        writer=writer if isinstance(writer, str) else "",
        writer_seq=writer_seq if type(writer_seq) is int else 0,
        log_seq=log_seq,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        links=_links(span),
    )


def _foreign(index: int, log_seq: int, life: _Life, span: Span, scope: str) -> Record:
    """Return the record of somebody else's span: what it says as a step. It has no writer, whatever it claims, so that
    it is never taken for a record of ours that came twice.
    """
    node = foreign_node(span, scope)
    return Record(
        kind=RecordKind.FOREIGN,
        project=life.project,
        run_id=life.run_id or span.trace_id.hex(),
        generation=life.generation,
        trace_id=span.trace_id,
        node_id=span.span_id,
        parent_id=_parent(span),
        name=node.name,
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes={name: _small(index, name, value) for name, value in node.attributes().items()},
        session=life.session or node.session,
        tags=life.tags,
        attempt=life.attempt,
        epoch=life.epoch,
        log_seq=log_seq,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        links=_links(span),
        raw=Large(index, span.ByteSize()),
    )


def _parent(span: Span) -> bytes:
    return b"" if span.parent_span_id == _NO_PARENT else span.parent_span_id


def _links(span: Span) -> tuple[str, ...]:
    return tuple([_link(link, span.trace_id) for link in span.links if _leads(link)]) if span.links else ()


def _leads(link: Span.Link) -> bool:
    """Return whether a link names a span; one that does not is only in the span's own bytes."""
    return len(link.trace_id) == 16 and len(link.span_id) == 8


def _link(link: Span.Link, trace_id: bytes) -> str:
    """Return a link as a record holds it; see `Record.links`."""
    if link.trace_id == trace_id:
        return link.span_id.hex()
    return f"{link.trace_id.hex()}/{link.span_id.hex()}"
