"""The token before the routes of the HTTP port: all but the probes ask for it; see bearer.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from livespan.collector.bearer import Bearer, refusal
from livespan.collector.otlp_http import Encoding, discard, encoding_of, status_response
from livespan.collector.probe_routes import LIVE_PATH, READY_PATH

__all__ = ["HttpGate"]

_OPEN: Final = frozenset({LIVE_PATH, READY_PATH})
_DISCARD_BYTES: Final = 1024 * 1024


class HttpGate:
    """An ASGI application that passes on what shows the token.

    Args:
        inner: what is guarded.
        token: that must be shown.
        refused: called when it is not.
    """

    def __init__(self, inner: ASGIApp, token: str, refused: Callable[[], None]) -> None:
        self._inner = inner
        self._refused = refused
        self._bearer = Bearer(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        shown = request.headers.getlist("authorization")
        if request.url.path in _OPEN or (len(shown) == 1 and self._bearer.is_shown(shown[0])):
            await self._inner(scope, receive, send)
            return
        self._refused()
        await discard(request, _DISCARD_BYTES)
        encoding = encoding_of(request) or Encoding.JSON
        headers = {"WWW-Authenticate": "Bearer"}
        response = status_response(encoding, 401, grpc.StatusCode.UNAUTHENTICATED, refusal(), headers)
        await response(scope, receive, send)
