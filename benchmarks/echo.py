"""The bare sidecar: a gRPC server of Python's asyncio on a unix socket that answers at once and does nothing.

    python -m benchmarks.echo SOCKET       until its stdin ends

What a call to it takes is what any call to a sidecar takes on this machine, as loaded as it is in this minute.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio  # pyright: ignore[reportUnusedImport]  # grpc has no `aio` until it is imported

__all__ = ["Echo"]

_SERVICE: Final = "bench.Echo"
_METHOD: Final = "Call"


class Echo:
    """Such a server in a process of its own, and the way to call it. The owner closes it."""

    def __init__(self, socket: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.echo", str(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        untyped: Any = self._channel  # its stub cannot say that no serialiser means bytes
        self._call = cast(
            "grpc.UnaryUnaryMultiCallable[bytes, bytes]", untyped.unary_unary(f"/{_SERVICE}/{_METHOD}", None, None)
        )
        self._payload = b"x" * 700

    def call_s(self) -> float:
        """Call it with about what an effect's start takes, and return how long that took."""
        began_s = time.perf_counter()
        self._call(self._payload, timeout=5.0)
        return time.perf_counter() - began_s

    def close(self) -> None:
        """End the channel and the process."""
        self._channel.close()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(10)


async def _serve(socket: str) -> None:
    async def answer(payload: bytes, context: object) -> bytes:
        return payload[:8]

    untyped: Any = grpc  # its stubs leave the types of handlers and interceptors open
    server: Any = untyped.aio.server()
    handler = untyped.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((untyped.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
