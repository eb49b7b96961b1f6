from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.collector.stand import Writer, node, request

from livespan.collector.door import judged
from livespan.proto import acceptance, judgement, otlp
from livespan.proto import attributes as names
from livespan.proto.otlp import Request
from livespan.proto.record import Record


def test_a_lease_that_a_client_made_up_is_refused_and_the_rest_is_stored() -> None:
    writer = Writer()
    incoming = judged(request(writer.started(node(1)), writer.lease("granted")))
    assert (incoming.stored, [refusal.span for refusal in incoming.refusals]) == (1, [1])
    assert b"lease granted" not in incoming.payload


def test_a_lease_whose_length_is_written_longer_than_it_need_be_is_refused_too() -> None:
    group = ExportTraceServiceRequest.FromString(request(Writer().lease("granted"))).resource_spans[0]
    span = group.scope_spans[0].spans[0]
    word = next(index for index, pair in enumerate(span.attributes) if pair.key == names.RECORD)
    del span.attributes[word]
    told = _field(9, _field(1, names.RECORD.encode()) + _field(2, b"\x0a\x85\x00lease"))
    spans = _field(2, span.SerializeToString() + told)
    incoming = judged(_field(1, _field(1, group.resource.SerializeToString()) + _field(2, spans)))
    assert (incoming.stored, len(incoming.refusals)) == (0, 1)


def test_each_span_of_a_request_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judgements: list[str] = []

    def counted(span: Span) -> str:
        judgements.append(span.name)
        return acceptance.span_refusal(span)

    monkeypatch.setattr(judgement, "span_refusal", counted)
    writer = Writer()
    incoming = judged(request(writer.started(node(1)), writer.ended(node(1))))
    assert (incoming.stored, len(incoming.request.records(7))) == (2, 2)
    assert len(list(incoming.request.spans())) == len(judgements) == 2


def test_what_no_record_can_be_made_of_is_stored_and_a_made_up_lease_beside_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> Record:
        raise ZeroDivisionError

    monkeypatch.setattr(otlp, "_record", broken)
    writer = Writer()
    incoming = judged(request(writer.started(node(1)), writer.lease("granted")))
    assert (incoming.stored, [refusal.span for refusal in incoming.refusals]) == (1, [1])
    with pytest.raises(ZeroDivisionError):
        incoming.request.records(1)


def test_records_have_their_own_numbers_however_often_they_are_asked_for() -> None:
    writer = Writer()
    asked = Request(request(writer.started(node(1)), writer.ended(node(1))))
    first, again = asked.records(5), asked.records(40)
    assert [record.log_seq for record in (*first, *again)] == [5, 6, 40, 41]


def _field(number: int, content: bytes) -> bytes:
    """Return a field that holds bytes, as protobuf writes it."""
    length = len(content)
    return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content
