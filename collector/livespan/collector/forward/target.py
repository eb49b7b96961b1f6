"""Where to forward, and the stock exporter that goes there.

    http(s)://host:4317, grpc(s)://host:port, unix:/path   OTLP/gRPC
    http(s)://host[:port][/path]                           OTLP/HTTP protobuf; without a path, /v1/traces

Everything else is the exporter's own: `OTEL_EXPORTER_OTLP_HEADERS`, `_CERTIFICATE`, `_CLIENT_KEY`, `_TIMEOUT`,
`_COMPRESSION` hold as they do in any program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from livespan.proto.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["ForwardProtocol", "ForwardTarget", "parse_target"]

_GRPC_PORT: Final = 4317
_MIB: Final = 1024 * 1024


class ForwardProtocol(StrEnum):
    """How to speak to the backend, in OpenTelemetry's words."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """A backend.

    Attributes:
        endpoint: as the exporter takes it.
        secure: whether gRPC speaks TLS.
        headers: sent with each request; empty: what the environment says.
        queue_bytes: bound of what waits for it.
    """

    endpoint: str
    protocol: ForwardProtocol
    secure: bool
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    queue_bytes: int = 64 * _MIB

    def exporter(self) -> SpanExporter:
        """Return a new stock exporter; it connects when it is first used."""
        # Imported here: they cost more than 100 ms, and most collectors forward nothing.
        if self.protocol is ForwardProtocol.GRPC:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            # gRPC takes lower-case names alone.
            pairs = tuple((name.lower(), value) for name, value in self.headers.items())
            return GrpcExporter(endpoint=self.endpoint, insecure=not self.secure, headers=pairs or None)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        return HttpExporter(endpoint=self.endpoint, headers=dict(self.headers) or None)


def parse_target(
    url: str, protocol: str = "", headers: Sequence[str] = (), queue_bytes: int = 64 * _MIB
) -> ForwardTarget:
    """Return the backend that a URL names.

    Args:
        url: see the module.
        protocol: `grpc` or `http/protobuf`; "" to go by the URL.
        headers: `NAME=VALUE` each.
        queue_bytes: bound of what waits for it.

    Raises:
        InvalidInput: the URL or a header is none.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    try:
        port = parts.port
    except ValueError as error:
        raise _bad(url, str(error)) from error
    if scheme == "unix" and parts.path:
        return ForwardTarget(url, ForwardProtocol.GRPC, False, _pairs(headers), queue_bytes)
    if scheme not in {"http", "https", "grpc", "grpcs"} or not parts.hostname:
        raise _bad(url, "this is no URL of a backend")
    by_url = ForwardProtocol.HTTP
    if scheme.startswith("grpc") or (port == _GRPC_PORT and parts.path in {"", "/"}):
        by_url = ForwardProtocol.GRPC
    chosen = ForwardProtocol(protocol) if protocol else by_url
    secure = scheme in {"https", "grpcs"}
    if chosen is ForwardProtocol.GRPC:
        default = f":{_GRPC_PORT}" if port is None else ""
        return ForwardTarget(f"{parts.netloc}{default}", chosen, secure, _pairs(headers), queue_bytes)
    web = "https" if secure else "http"
    path = parts.path if parts.path not in {"", "/"} else "/v1/traces"
    query = f"?{parts.query}" if parts.query else ""
    return ForwardTarget(f"{web}://{parts.netloc}{path}{query}", chosen, secure, _pairs(headers), queue_bytes)


def _pairs(headers: Sequence[str]) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for header in headers:
        name, equals, value = header.partition("=")
        if not equals or not name.strip():
            raise InvalidInput("a header is NAME=VALUE", subject=name, hint="--forward-header authorization='Bearer x'")
        pairs[name.strip()] = value.strip()
    return pairs


def _bad(url: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        subject=url,
        hint="Give http://host:4317 (OTLP/gRPC), http://host:4318 (OTLP/HTTP), https://... or unix:/path.",
    )
