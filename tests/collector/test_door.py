from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.collector.stand import Writer, node, request

from livespan.collector.door import judged
from livespan.proto import attributes as names
from livespan.proto.otlp import Request


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


def test_a_request_that_merely_says_please_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_through(_request: Request) -> object:
        raise AssertionError("each span was looked at")

    monkeypatch.setattr(Request, "kinds", looked_through)
    writer = Writer()
    assert judged(request(writer.started(node(1), given=b'"please release the lease"'))).stored == 1


def _field(number: int, content: bytes) -> bytes:
    """Return a field that holds bytes, as protobuf writes it."""
    length = len(content)
    return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content
