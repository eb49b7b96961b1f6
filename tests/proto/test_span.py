"""The OTLP bytes that we join by hand are what protobuf itself would read, and records come out as they went in."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from livespan.proto import attributes as names
from livespan.proto.errors import InvalidInput
from livespan.proto.otlp import Request
from livespan.proto.record import Large, RecordKind
from livespan.proto.span import JournalSpan, Scalar, attribute_bytes, export_request, resource_bytes, wire_span

SCALARS: st.SearchStrategy[Scalar] = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(allow_nan=False),
)
NAMES = st.text(string.ascii_lowercase + ".", min_size=1, max_size=200).map(lambda name: "x." + name)
ATTRIBUTES = st.dictionaries(NAMES, SCALARS, max_size=12)


def journal(resource: bytes = b"", **changes: object) -> JournalSpan:
    fields: dict[str, object] = {
        "resource": resource or resource_bytes({names.PROJECT: "p", names.RUN_ID: "r"}),
        "trace_id": b"t" * 16,
        "node_id": b"n" * 8,
        "parent_id": b"p" * 8,
        "name": "charge",
        "started_ns": 5,
        "ended_ns": 9,
        "failed": False,
        "fixed": b"",
        "attributes": {names.RECORD: "started"},
        "texts": (),
    }
    return JournalSpan(**(fields | changes))  # type: ignore[arg-type]  # fields of many types, by name


@given(ATTRIBUTES, ATTRIBUTES, st.binary(max_size=3000), st.text(st.characters(exclude_categories=["Cs"])))
def test_joined_bytes_parse_as_the_span_that_was_meant(
    own: dict[str, Scalar], fixed: dict[str, Scalar], state: bytes, name: str
) -> None:
    own = {key: value for key, value in own.items() if key not in fixed}
    span = journal(name=name, fixed=attribute_bytes(fixed), attributes=own, texts=(("text", b'{"a": "\xc3\xa9"}'),))
    message = ExportTraceServiceRequest.FromString(export_request([wire_span(span, "w1", 7, state, links=(b"l" * 8,))]))
    parsed = message.resource_spans[0].scope_spans[0].spans[0]
    found = {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in parsed.attributes}
    expected = {**fixed, **own, names.WRITER: "w1", names.WRITER_SEQ: 7, "text": '{"a": "é"}'}
    if state:
        expected[names.STATE] = state  # type: ignore[assignment]  # the one attribute that is bytes
    assert found == expected
    assert parsed.name == name
    assert (parsed.trace_id, parsed.span_id, parsed.parent_span_id) == (b"t" * 16, b"n" * 8, b"p" * 8)
    assert (parsed.start_time_unix_nano, parsed.end_time_unix_nano) == (5, 9)
    assert parsed.links[0].span_id == b"l" * 8
    assert parsed.links[0].trace_id == b"t" * 16
    assert ExportTraceServiceRequest.FromString(message.SerializeToString()) == message


def test_a_root_that_names_its_caller_links_to_it_and_no_other_record_does() -> None:
    caller: dict[str, Scalar] = {
        names.RECORD: "started",
        names.CALLER_TRACE_ID: b"c".hex() * 16,
        names.CALLER_SPAN_ID: b"s".hex() * 8,
    }
    root, below = journal(parent_id=b"", attributes=caller), journal(attributes=caller)
    spans = [
        wire_span(root, "w", 1, links=(b"l" * 8,)),
        wire_span(below, "w", 2),
        wire_span(journal(parent_id=b""), "w", 3),
    ]
    payload = export_request(spans)
    message = ExportTraceServiceRequest.FromString(payload)
    linked = [
        [(link.trace_id, link.span_id) for link in span.links]
        for span in message.resource_spans[0].scope_spans[0].spans
    ]
    assert linked == [[(b"t" * 16, b"l" * 8), (b"c" * 16, b"s" * 8)], [], []]
    assert [record.links for record in Request(payload).records(1)] == [
        ("6c" * 8, "63" * 16 + "/" + "73" * 8),
        (),
        (),
    ]


def test_neighbours_of_one_resource_share_it_and_order_is_kept() -> None:
    one, two = (
        resource_bytes({names.RUN_ID: "a", names.PROJECT: "p"}),
        resource_bytes({names.RUN_ID: "b", names.PROJECT: "p"}),
    )
    spans = [wire_span(journal(resource), "w", seq) for seq, resource in enumerate([one, one, two, one], 1)]
    payload = export_request(spans)
    assert len(ExportTraceServiceRequest.FromString(payload).resource_spans) == 3
    records = Request(payload).records(10)
    assert [(record.run_id, record.writer_seq, record.log_seq) for record in records] == [
        ("a", 1, 10),
        ("a", 2, 11),
        ("b", 3, 12),
        ("a", 4, 13),
    ]


def test_what_is_large_stays_in_the_log_and_can_be_read_there() -> None:
    text, state = b'"' + b"x" * names.LARGE_BYTES + b'"', b"\x00\xff" * 10
    span = journal(texts=((names.INPUT, text),), attributes={names.RECORD: "checkpoint"})
    request = Request(export_request([wire_span(journal(), "w", 1), wire_span(span, "w", 2, state)]))
    record = request.records(1)[1]
    assert record.kind is RecordKind.CHECKPOINT
    assert record.attributes[names.INPUT] == Large(1, len(text))
    assert record.attributes[names.STATE] == Large(1, len(state))
    assert request.large(1, names.INPUT) == text
    assert list(request.larges()) == [(1, names.INPUT, text), (1, names.STATE, state)]


@pytest.mark.parametrize("letter", ["a", "é", "€", "𝄞"])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 5])
def test_records_and_larges_agree_on_what_is_large(letter: str, beyond: int) -> None:
    """The limit is in bytes, whatever the letters take."""
    size = len(letter.encode())
    text = (letter * (names.LARGE_BYTES // size)).encode() + b"x" * (beyond if beyond > 0 else 0)
    text = text[size:] if beyond < 0 else text
    request = Request(export_request([wire_span(journal(texts=((names.INPUT, text),)), "w", 1)]))
    is_large = isinstance(request.records(1)[0].attributes[names.INPUT], Large)
    assert is_large == (len(list(request.larges())) == 1) == (len(text) > names.LARGE_BYTES)


def test_a_span_without_a_run_is_foreign_and_keeps_its_bytes() -> None:
    payload = export_request([wire_span(journal(resource_bytes({"service.name": "shop"})), "", 0)])
    request = Request(payload)
    record = request.records(1)[0]
    assert record.kind is RecordKind.FOREIGN
    assert record.run_id == (b"t" * 16).hex()
    assert record.project == "shop"
    assert (
        request.large(0, "raw")
        == ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    )


@pytest.mark.parametrize(
    ("trace", "node"), [(b"", b"n" * 8), (b"\x00" * 16, b"n" * 8), (b"t" * 16, b"\x00" * 8), (b"t" * 15, b"n" * 8)]
)
def test_spans_without_proper_ids_are_refused_and_the_others_keep_their_numbers(trace: bytes, node: bytes) -> None:
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=trace, span_id=node)
    spans.add(trace_id=b"t" * 16, span_id=b"n" * 8)
    request = Request(message.SerializeToString())
    assert request.count() == 2
    assert [refusal.span for refusal in request.refusals()] == [0]
    assert [record.log_seq for record in request.records(5)] == [6]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused_in_good_order(data: bytes) -> None:
    with suppress(InvalidInput):
        Request(data).records(1)


def test_a_refused_body_says_what_to_send() -> None:
    with pytest.raises(InvalidInput, match="not an OTLP") as caught:
        Request(b"\xff\xff\xff")
    assert "protobuf" in caught.value.hint
