from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.livespan_home import LiveHome

from livespan.collector.hot import HotTier
from livespan.collector.otlp_service import EXPORT_METHOD
from livespan.collector.settings import CollectorSettings
from livespan.proto.record import RecordKind
from livespan.proto.rpc import DETAIL_KEY, open_channel


def request(*spans: Span) -> bytes:
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]
    ).SerializeToString()


def span(number: int = 1, name: str = "chat") -> Span:
    return Span(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"), name=name)


class Exporting:
    """Sends bytes to a collector as any client would."""

    def __init__(self, channel: grpc.Channel) -> None:
        untyped: Any = channel  # its stub knows no call on plain bytes
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = untyped.unary_unary(
            EXPORT_METHOD, request_serializer=None, response_deserializer=None
        )

    def send(self, payload: bytes) -> ExportTraceServiceResponse:
        return ExportTraceServiceResponse.FromString(self._call(payload, timeout=10))

    def refused(self, payload: bytes) -> tuple[grpc.StatusCode, dict[str, bytes]]:
        with pytest.raises(grpc.RpcError) as refused:
            self._call(payload, timeout=10)
        error = refused.value
        assert isinstance(error, grpc.Call)
        pairs = cast("tuple[tuple[str, str | bytes], ...]", error.trailing_metadata() or ())
        return error.code(), {key: value for key, value in pairs if isinstance(value, bytes)}


@pytest.fixture
def exporting(live: LiveHome) -> Iterator[Exporting]:
    with open_channel(f"unix:{live.home.root}/collector.sock") as channel:
        yield Exporting(channel)


def test_the_stock_exporter_stores_foreign_spans_as_they_came(live: LiveHome) -> None:
    address = live.serve(grpc_address="127.0.0.1:0").collector.grpc_address
    provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))
    with provider.get_tracer("theirs").start_as_current_span("chat gpt") as one:
        one.set_attribute("gen_ai.request.model", "gpt")
    provider.shutdown()
    trace = one.get_span_context().trace_id.to_bytes(16, "big")
    history = live.inside.history(trace.hex(), "theirs")
    assert history is not None
    [record] = history.foreign
    assert (record.kind, record.name) == (RecordKind.FOREIGN, "chat gpt")
    raw = Span.FromString(live.inside.context.history.content(record, "span"))
    assert (raw.trace_id, raw.attributes[0].value.string_value) == (trace, "gpt")


def test_an_empty_request_succeeds(live: LiveHome, exporting: Exporting) -> None:
    live.serve()
    assert not exporting.send(b"").HasField("partial_success")
    assert not exporting.send(request()).HasField("partial_success")


def test_spans_without_ids_are_refused_and_the_others_are_stored(live: LiveHome, exporting: Exporting) -> None:
    live.serve()
    answer = exporting.send(request(span(1), Span(trace_id=b"short", span_id=b"x" * 8), span(2)))
    assert answer.partial_success.rejected_spans == 1
    assert "span 1: trace_id" in answer.partial_success.error_message
    history = live.inside.history((b"t" * 16).hex(), "")
    assert history is not None
    assert len(history.foreign) == 2


def test_a_request_of_nothing_but_refused_spans_is_not_appended(live: LiveHome, exporting: Exporting) -> None:
    live.serve()
    before = live.inside.collector._status()["log_next_seq"]  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    assert exporting.send(request(Span(), Span())).partial_success.rejected_spans == 2
    assert live.inside.collector._status()["log_next_seq"] == before  # pyright: ignore[reportPrivateUsage]  # as above


def test_what_is_no_request_is_an_invalid_argument_that_says_so(live: LiveHome, exporting: Exporting) -> None:
    live.serve()
    code, trailers = exporting.refused(os.urandom(3) + b"\xff" * 20)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert b"OTLP" in trailers[DETAIL_KEY]
    assert "google.rpc.retryinfo-bin" not in trailers


def test_without_room_it_is_later_in_both_forms(live: LiveHome, exporting: Exporting) -> None:
    live.serve(CollectorSettings(hot_bytes=1, publish_s=60, publish_records=1 << 30))
    hot = live.inside.collector._hot  # pyright: ignore[reportPrivateUsage]  # as above
    live.inside.collector._intake._hot = HotTier(0)  # pyright: ignore[reportPrivateUsage]  # as above
    code, trailers = exporting.refused(request(span()))
    live.inside.collector._intake._hot = hot  # pyright: ignore[reportPrivateUsage]  # as above
    assert code is grpc.StatusCode.UNAVAILABLE
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 1
    packed = Status.FromString(trailers["grpc-status-details-bin"])
    retry = RetryInfo()
    assert packed.details[0].Unpack(retry)
    assert (packed.code, retry.retry_delay.seconds) == (14, 1)


def test_a_collector_that_is_leaving_says_later(live: LiveHome, exporting: Exporting) -> None:
    live.serve()
    live.inside.collector._intake.close()  # pyright: ignore[reportPrivateUsage]  # as above
    code, trailers = exporting.refused(request(span()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "google.rpc.retryinfo-bin" in trailers
