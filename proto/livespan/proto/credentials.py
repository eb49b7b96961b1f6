"""Access as gRPC takes it: credentials of a TLS channel, and headers with every call that a channel makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import grpc

from livespan.proto.access import Access
from livespan.proto.errors import InvalidInput

if TYPE_CHECKING:
    _UnaryUnary: TypeAlias = grpc.UnaryUnaryClientInterceptor[Any, Any]
    _UnaryStream: TypeAlias = grpc.UnaryStreamClientInterceptor[Any, Any]
    _StreamUnary: TypeAlias = grpc.StreamUnaryClientInterceptor[Any, Any]
    _StreamStream: TypeAlias = grpc.StreamStreamClientInterceptor[Any, Any]
else:  # they are generic for type checkers alone
    _UnaryUnary, _UnaryStream = grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor
    _StreamUnary, _StreamStream = grpc.StreamUnaryClientInterceptor, grpc.StreamStreamClientInterceptor

__all__ = ["channel_credentials", "with_headers"]


def channel_credentials(access: Access) -> grpc.ChannelCredentials:
    """Return what a TLS channel is made with.

    Raises:
        InvalidInput: the certificate cannot be read.
    """
    if not access.certificate:
        return grpc.ssl_channel_credentials()
    try:
        with open(access.certificate, "rb") as file:
            return grpc.ssl_channel_credentials(root_certificates=file.read())
    except OSError as error:
        raise InvalidInput(
            f"the certificate cannot be read ({error.strerror})",
            subject=access.certificate,
            hint="Set OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file.",
        ) from error


def with_headers(channel: grpc.Channel, headers: tuple[tuple[str, str], ...]) -> grpc.Channel:
    """Return a channel that sends headers with every call, whatever it is made of."""
    untyped: Any = grpc  # its stub leaves the interceptors' types open
    return untyped.intercept_channel(channel, _Headers(headers)) if headers else channel


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Headers(_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream):
    """Adds headers; gRPC has one interceptor for each of the four shapes of a call."""

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self._headers = headers

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details), request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._details(client_call_details), request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return continuation(self._details(client_call_details), request_iterator)

    def _details(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), *self._headers],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
