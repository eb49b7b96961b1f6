"""What a client shows to a collector that runs elsewhere: whom it trusts, and its headers. Read at the edges from
OpenTelemetry's own variables, so that whoever has set up an exporter has set up Livespan:

    OTEL_EXPORTER_OTLP_CERTIFICATE    PEM file of the authority that signed the collector's certificate
    OTEL_EXPORTER_OTLP_HEADERS        authorization=Bearer%20..., as W3C baggage writes pairs
    LIVESPAN_TOKEN                    the collector's token, where the headers name no authorization

The variables of the traces signal (OTEL_EXPORTER_OTLP_TRACES_...) win over the general ones, as the specification
has it. Nothing of this goes over a unix socket: its file mode is what guards it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import grpc
from opentelemetry.util.re import parse_env_headers

from livespan.proto.errors import InvalidInput

if TYPE_CHECKING:
    _UnaryUnary: TypeAlias = grpc.UnaryUnaryClientInterceptor[Any, Any]
    _UnaryStream: TypeAlias = grpc.UnaryStreamClientInterceptor[Any, Any]
    _StreamUnary: TypeAlias = grpc.StreamUnaryClientInterceptor[Any, Any]
    _StreamStream: TypeAlias = grpc.StreamStreamClientInterceptor[Any, Any]
else:  # they are generic for type checkers alone
    _UnaryUnary, _UnaryStream = grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor
    _StreamUnary, _StreamStream = grpc.StreamUnaryClientInterceptor, grpc.StreamStreamClientInterceptor

__all__ = ["NO_ACCESS", "Access", "access_from", "with_headers"]

_AUTHORIZATION: Final = "authorization"
_SIGNAL: Final = "OTEL_EXPORTER_OTLP_TRACES_"
_GENERAL: Final = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Access:
    """What one process shows.

    Attributes:
        certificate: PEM file of the trusted authorities; "" = those of the system.
        headers: names in lower case, and values; they hold secrets and are not printed.
    """

    certificate: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a TLS channel is made with.

        Raises:
            InvalidInput: the certificate cannot be read.
        """
        if not self.certificate:
            return grpc.ssl_channel_credentials()
        try:
            with open(self.certificate, "rb") as file:
                return grpc.ssl_channel_credentials(root_certificates=file.read())
        except OSError as error:
            raise InvalidInput(
                f"the certificate cannot be read ({error.strerror})",
                subject=self.certificate,
                hint="Set OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file.",
            ) from error


NO_ACCESS: Final = Access()


def access_from(environment: Mapping[str, str]) -> Access:
    """Read what a client shows from the environment."""
    headers = dict(parse_env_headers(_either(environment, "HEADERS"), liberal=True))
    token = environment.get("LIVESPAN_TOKEN", "").strip()
    if token:
        headers.setdefault(_AUTHORIZATION, f"Bearer {token}")
    return Access(_either(environment, "CERTIFICATE"), tuple(sorted(headers.items())))


def with_headers(channel: grpc.Channel, headers: tuple[tuple[str, str], ...]) -> grpc.Channel:
    """Return a channel that sends headers with every call, whatever it is made of."""
    untyped: Any = grpc  # its stub leaves the interceptors' types open
    return untyped.intercept_channel(channel, _Headers(headers)) if headers else channel


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(_SIGNAL + name) or environment.get(_GENERAL + name, "")


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
