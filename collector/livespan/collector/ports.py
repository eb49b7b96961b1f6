"""The ports of a collector: the unix socket, and gRPC and HTTP over TCP where they are asked for.

    made ─▶ services register on `server` ─▶ open ─▶ tell_ready(True) ─▶ tell_ready(False) ─▶ close

Between the last two they still answer: queries as ever, and who would append with "later".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livespan.collector.grpc_server import add_port, grpc_server
from livespan.collector.health import Health
from livespan.collector.home_lock import make_way
from livespan.collector.listening import Listen
from livespan.proto.errors import Unavailable

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from livespan.collector.http_server import HttpServer

__all__ = ["Ports"]

_END_S: Final = 1.0


class Ports:
    """The ports of one collector, on its loop.

    Args:
        listen: which there are to be.
        socket: the unix socket's path.
        max_message_bytes: of a request, after decompression.
        refused: called when somebody does not show the token.

    Attributes:
        server: the gRPC server, for services to register on before `open`.
        target: gRPC target of the unix socket.
        grpc_address, http_address: as they were asked for; once open with the port that was found, where it was 0.
    """

    def __init__(self, listen: Listen, socket: Path, max_message_bytes: int, refused: Callable[[], None]) -> None:
        self.server = grpc_server(max_message_bytes, listen.guard.token, refused)
        self.target = f"unix:{socket}"
        self.grpc_address = listen.grpc_address
        self.http_address = listen.http_address
        self._guard = listen.guard
        self._refused = refused
        self._socket = socket
        self._health = Health(self.server)
        self._http: HttpServer | None = None

    @property
    def http_url(self) -> str:
        """Where HTTP is served, "" for nowhere."""
        return self.http_address and f"{'https' if self._guard.has_tls else 'http'}://{self.http_address}"

    async def open(self, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        """Listen.

        Args:
            routes: returns those of HTTP, tried in this order; asked where HTTP is served.

        Raises:
            Unavailable: an address cannot be listened on.
        """
        make_way(self._socket)
        try:
            self.server.add_insecure_port(self.target)
            if self.grpc_address:
                host = self.grpc_address.rpartition(":")[0]
                self.grpc_address = f"{host}:{add_port(self.server, self._guard, self.grpc_address)}"
        except RuntimeError as error:
            raise Unavailable(
                "the address cannot be listened on",
                subject=self.grpc_address or self.target,
                hint="Is another program there?",
            ) from error
        await self.server.start()
        os.chmod(self._socket, 0o600)
        if self.http_address:
            # Starlette and uvicorn take 100 ms to import, which an agent that starts its own collector need not wait.
            from livespan.collector.http_server import HttpServer

            self._http = HttpServer(self.http_address, self._guard, self._refused)
            self.http_address = self._http.address
            await self._http.start(routes())

    async def tell_ready(self, ready: bool) -> None:
        """Tell those who ask or watch the health service whether requests are taken."""
        await self._health.serving(ready)

    async def close(self) -> None:
        """Take no new connection, and give requests under way a second."""
        await self.server.stop(_END_S)
        if self._http is not None:
            await self._http.stop()
