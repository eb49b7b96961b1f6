"""A Query service over given records, on a unix socket, for tests of the service and of the commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from livespan.collector.query.engine import Lake, QueryEngine, QueryLimits
from livespan.collector.query.service import QueryService, add_query_service


@dataclass
class Served:
    """A running service."""

    target: str
    service: QueryService


@contextmanager
def serving(
    lake: Lake,
    folder: Path,
    *,
    limits: QueryLimits | None = None,
    held: Callable[[bytes], bool] = lambda trace: False,
    status: Mapping[str, object] | None = None,
) -> Generator[Served]:
    """Serve in a thread until the block ends."""
    target = f"unix:{folder}/query.sock"
    ready = threading.Event()
    found: list[Served] = []
    loop = asyncio.new_event_loop()
    leave = asyncio.Event()

    async def serve() -> None:
        async def indexed() -> None:
            return

        server = grpc.aio.server()  # pyright: ignore[reportUnknownMemberType]  # its stubs leave handlers open
        service = add_query_service(
            server,
            QueryEngine(lake, limits),
            held=held,
            status=lambda: status or {},
            indexed=indexed,
            activity=lambda: None,
        )
        server.add_insecure_port(target)
        await server.start()
        found.append(Served(target, service))
        ready.set()
        await leave.wait()
        await service.close()
        await server.stop(0.5)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(10)
        loop.close()
