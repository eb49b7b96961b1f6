"""The HTTP port: uvicorn in the collector's own loop, over the routes that are here and those that services added.

    bind (the port is known) ─▶ start: requests are answered ─▶ stop: no new connection, a second for the last ones

What may be bound is decided in listening.py, who may ask in http_gate.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from livespan.collector.http_gate import HttpGate
from livespan.collector.listening import Guard, host_and_port
from livespan.proto.errors import Unavailable

__all__ = ["HttpServer"]

_END_S: Final = 1
_KEEP_ALIVE_S: Final = 65
"""Longer than what exporters and load balancers wait, so that it is they who close."""


class HttpServer:
    """Serves routes on one address; `start` and `stop` on the collector's loop.

    Args:
        address: host:port, port 0 for a free one.
        guard: certificate and key, where it is to speak TLS; the token that all but the probes ask for.
        refused: called when somebody does not show it.

    Raises:
        Unavailable: the address cannot be listened on.
    """

    def __init__(self, address: str, guard: Guard, refused: Callable[[], None] = lambda: None) -> None:
        self._guard = guard
        self._refused = refused
        host, port = host_and_port(address)
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._listener = socket.create_server(where[:2], family=family, backlog=512)
        except OSError as error:
            raise Unavailable(
                f"the address cannot be listened on ({error.strerror})",
                subject=address,
                hint="Is another program there?",
            ) from error
        self.address = f"{address.rpartition(':')[0]}:{self._listener.getsockname()[1]}"
        self._task: asyncio.Task[None] | None = None

    async def start(self, routes: Sequence[BaseRoute]) -> None:
        """Serve routes, tried in this order."""
        application: ASGIApp = Starlette(routes=routes)
        if self._guard.token:
            application = HttpGate(application, self._guard.token, self._refused)
        config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_END_S,
            ssl_certfile=_text(self._guard.certificate),
            ssl_keyfile=_text(self._guard.key),
        )
        config.load()
        # What Server.serve does but for its signal handlers: SIGTERM is the collector's.
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._listener])
        self._task = asyncio.create_task(self._server.main_loop())

    async def stop(self) -> None:
        """Take no new connection and give requests under way a second."""
        if self._task is None:
            self._listener.close()
            return
        self._server.should_exit = True
        await self._task
        await self._server.shutdown(sockets=[self._listener])


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
