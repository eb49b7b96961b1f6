"""OTLP over both transports as a test speaks it: bytes out, and what came back in one form.

`Answer.code` is gRPC's name of the outcome on both: over HTTP it is what the google.rpc.Status of the body says.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import grpc
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from livespan.collector.otlp_service import EXPORT_METHOD

__all__ = ["Answer", "Grpc", "Http", "Transport", "as_json", "request", "span"]

_ID = re.compile(r'("(?:trace|span|parentSpan)Id": ")([^"]*)')
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True)
class Answer:
    """What a sender was told.

    Attributes:
        code: OK, or the name of gRPC's status.
        partial: what was rejected, None where the field is not set.
        retry_s: of RetryInfo, None where there is none.
        http_status, headers: over HTTP alone.
        trailers: over gRPC alone.
    """

    code: str
    partial: ExportTracePartialSuccess | None = None
    retry_s: int | None = None
    message: str = ""
    http_status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    trailers: dict[str, bytes] = field(default_factory=dict[str, bytes])


class Transport(Protocol):
    """A way to send a serialised request."""

    def send(self, payload: bytes, *, zipped: bool = False) -> Answer: ...

    def send_bomb(self, size_bytes: int) -> Answer:
        """Send so many zero bytes, gzipped."""
        ...


def span(number: int = 1, name: str = "chat", trace: bytes = b"t" * 16) -> Span:
    return Span(trace_id=trace, span_id=number.to_bytes(8, "big"), name=name)


def request(*spans: Span) -> bytes:
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]
    ).SerializeToString()


def as_json(payload: bytes) -> Any:
    """Return a request as OTLP's JSON: ProtoJSON, but ids in hex and enums as numbers."""
    message = ExportTraceServiceRequest.FromString(payload)
    text = json_format.MessageToJson(message, use_integers_for_enums=True)
    return json.loads(_ID.sub(lambda found: found[1] + base64.b64decode(found[2]).hex(), text))


class Grpc:
    """OTLP/gRPC."""

    def __init__(self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]] = ()) -> None:
        untyped: Any = channel  # its stub knows no call on plain bytes
        self._metadata = metadata
        self._call: Any = untyped.unary_unary(EXPORT_METHOD, request_serializer=None, response_deserializer=None)

    def send(self, payload: bytes, *, zipped: bool = False) -> Answer:
        compression = grpc.Compression.Gzip if zipped else grpc.Compression.NoCompression
        try:
            reply = self._call(payload, timeout=60, compression=compression, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._refused(cast("grpc.Call", error))
        return _taken(ExportTraceServiceResponse.FromString(reply))

    def send_bomb(self, size_bytes: int) -> Answer:
        return self.send(b"\0" * size_bytes, zipped=True)

    @staticmethod
    def _refused(call: grpc.Call) -> Answer:
        trailers = {key: value for key, value in call.trailing_metadata() or () if isinstance(value, bytes)}
        packed = trailers.get("grpc-status-details-bin")
        retry_s = _retry_s(Status.FromString(packed)) if packed else None
        return Answer(call.code().name, retry_s=retry_s, message=call.details() or "", trailers=trailers)


class Http:
    """OTLP/HTTP, in one of its encodings.

    Args:
        address: host:port.
        json: whether JSON is sent, else protobuf.
        chunked: whether bodies come in chunks of unannounced length.
    """

    def __init__(self, address: str, *, json: bool = False, chunked: bool = False) -> None:
        self._address = address
        self._json = json
        self._chunked = chunked
        self.content_type = "application/json" if json else "application/x-protobuf"

    def send(self, payload: bytes, *, zipped: bool = False) -> Answer:
        body = json.dumps(as_json(payload)).encode() if self._json else payload
        headers = {"Content-Encoding": "gzip"} if zipped else {}
        return self.post(gzip.compress(body) if zipped else body, headers)

    def send_bomb(self, size_bytes: int) -> Answer:
        return self.post(gzip.compress(b"\0" * size_bytes), {"Content-Encoding": "gzip"})

    def post(
        self, body: bytes, headers: dict[str, str] | None = None, method: str = "POST", path: str = "/v1/traces"
    ) -> Answer:
        """Send a body as it is."""
        connection = http.client.HTTPConnection(self._address, timeout=60)
        content: bytes | Iterable[bytes] = (
            [body[at : at + 70_001] for at in range(0, len(body), 70_001)] if self._chunked else body
        )
        try:
            connection.request(
                method,
                path,
                body=content,
                headers={"Content-Type": self.content_type, **(headers or {})},
                encode_chunked=self._chunked,
            )
            response = connection.getresponse()
            told = response.read()
        finally:
            connection.close()
        return _answer(response.status, {key.lower(): value for key, value in response.getheaders()}, told)


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    is_json = headers["content-type"] == "application/json"
    if status == 200:
        reply = ExportTraceServiceResponse()
        taken = _taken(json_format.Parse(body, reply) if is_json else ExportTraceServiceResponse.FromString(body))
        return Answer(taken.code, taken.partial, http_status=status, headers=headers)
    told = json_format.Parse(body, Status()) if is_json else Status.FromString(body)
    return Answer(_NAMES[told.code], retry_s=_retry_s(told), message=told.message, http_status=status, headers=headers)


def _taken(reply: ExportTraceServiceResponse) -> Answer:
    return Answer("OK", reply.partial_success if reply.HasField("partial_success") else None)


def _retry_s(status: Status) -> int | None:
    for packed in status.details:
        info = RetryInfo()
        if packed.Unpack(info):
            return info.retry_delay.seconds
    return None
