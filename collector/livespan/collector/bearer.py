"""The token at the TCP ports: `authorization: Bearer ...`, on every call but health, compared in constant time.

    gRPC   an interceptor; who shows no token is let in by the unix socket alone, and refused before his message is read
    HTTP   a layer before the routes; 401 with a google.rpc.Status

Probes (`/livez`, `/readyz`, grpc.health.v1) are open: an orchestrator has no token, and they tell nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import grpc
import grpc.aio

from livespan.proto.errors import Unauthenticated
from livespan.proto.rpc import DETAIL_KEY, detail

if TYPE_CHECKING:
    _Interceptor: TypeAlias = grpc.aio.ServerInterceptor[Any, Any]
else:  # it is generic for type checkers alone
    _Interceptor = grpc.aio.ServerInterceptor

__all__ = ["Bearer", "BearerInterceptor", "refusal"]

_HEALTH: Final = "/grpc.health.v1.Health/"
_UNIX: Final = "unix:"
_HEADER: Final = "authorization"
_Handler: TypeAlias = Any
_Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Bearer:
    """The one token of a collector."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def is_shown(self, header: str | None) -> bool:
        """Return whether an authorization header's value holds the token."""
        scheme, _, shown = (header or "").strip().partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token)


def refusal() -> Unauthenticated:
    """Return what who shows no token, or a wrong one, is told; not which of both."""
    return Unauthenticated(
        "the collector's token is missing or wrong",
        hint="Set LIVESPAN_TOKEN, or OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN.",
    )


class BearerInterceptor(_Interceptor):
    """Asks every call of a server for the token.

    Args:
        token: that must be shown.
        refused: called when it is not.
    """

    def __init__(self, token: str, refused: Callable[[], None] = lambda: None) -> None:
        self._bearer = Bearer(token)
        self._refused = refused

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        details: Any = handler_call_details  # its stub leaves the metadata's type open
        handler = await continuation(details)
        if handler is None or details.method.startswith(_HEALTH):
            return handler
        shown = [str(value) for key, value in details.invocation_metadata or () if key == _HEADER]
        if len(shown) == 1 and self._bearer.is_shown(shown[0]):
            return handler
        return _unix_alone(handler, self._refused)


def _unix_alone(handler: _Handler, refused: Callable[[], None]) -> _Handler:
    """Return a handler that lets calls through that came by the unix socket.

    Whatever the shape of the call, it is taken as one of two streams, which look the same on the wire: so the peer is
    asked about before a message is read.
    """

    async def gate(requests: AsyncIterator[Any], context: _Call) -> AsyncIterator[Any]:
        peer: str = cast("Any", context).peer()
        if not peer.startswith(_UNIX):
            refused()
            error = refusal()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message, ((DETAIL_KEY, detail(error)),))
        given: Any = requests
        if not handler.request_streaming:
            given = await anext(requests, None)
            if given is None:
                return  # the caller went away before he had asked
        behaviour = (
            (handler.stream_stream if handler.request_streaming else handler.unary_stream)
            if handler.response_streaming
            else (handler.stream_unary if handler.request_streaming else handler.unary_unary)
        )
        if handler.response_streaming:
            async for reply in behaviour(given, context):
                yield reply
        else:
            yield await behaviour(given, context)

    untyped: Any = grpc
    return untyped.stream_stream_rpc_method_handler(
        gate, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )
