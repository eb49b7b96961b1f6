"""How a test sends an OTLP request as any client would, whatever the protocol: what comes back is told alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.collector.otlp_transport import Http

from livespan.collector.otlp_service import EXPORT_METHOD

__all__ = ["Answer", "GrpcTransport", "HttpTransport", "Transport"]


@dataclass(frozen=True)
class Answer:
    """What a receiver said.

    Attributes:
        code: OK, or the name of the gRPC status; a transport of another protocol says which it stands for.
        rejected: the spans of a partial success.
        message: why.
        may_retry: whether the receiver asks to be sent the same again.
    """

    code: str
    rejected: int = 0
    message: str = ""
    may_retry: bool = False


class Transport(Protocol):
    """One way to a collector."""

    def send(self, payload: bytes, *, gzip: bool = False) -> Answer:
        """Send a body as it is, compressed on the way where `gzip` says so."""
        ...

    def close(self) -> None: ...


class GrpcTransport:
    """OTLP/gRPC on bytes. Whoever makes it closes it. One that `waits` sends again where a receiver went away."""

    def __init__(self, target: str, *, waits: bool = True) -> None:
        self._waits = waits
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        )
        untyped: Any = self._channel  # its stub knows no call on plain bytes
        self._call = untyped.unary_unary(EXPORT_METHOD, request_serializer=None, response_deserializer=None)

    def send(self, payload: bytes, *, gzip: bool = False) -> Answer:
        try:
            answer = self._call(
                payload, timeout=60, wait_for_ready=self._waits, compression=grpc.Compression.Gzip if gzip else None
            )
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            trailers = cast("tuple[tuple[str, object], ...]", call.trailing_metadata() or ())
            retry = any(key == "google.rpc.retryinfo-bin" for key, _ in trailers)
            return Answer(call.code().name, message=str(call.details()), may_retry=retry)
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        return Answer("OK", partial.rejected_spans, partial.error_message)

    def close(self) -> None:
        self._channel.close()


class HttpTransport:
    """OTLP/HTTP in protobuf, or, where `json` says so, in JSON; `code` is what the answer's Status says."""

    def __init__(self, address: str, *, json: bool = False) -> None:
        self._http = Http(address, json=json)

    def send(self, payload: bytes, *, gzip: bool = False) -> Answer:
        told = self._http.send(payload, zipped=gzip)
        rejected = told.partial.rejected_spans if told.partial else 0
        message = told.partial.error_message if told.partial else told.message
        return Answer(told.code, rejected, message, may_retry=told.retry_s is not None)

    def post(self, body: bytes) -> Answer:
        """Send a body that need not be a request in this encoding."""
        told = self._http.post(body)
        return Answer(told.code, message=told.message, may_retry=told.retry_s is not None)

    def close(self) -> None:
        """Each request has a connection of its own."""
