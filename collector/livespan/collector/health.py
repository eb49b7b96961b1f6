"""gRPC's standard health service: the one typed door to grpc_health's asyncio half, which its types do not know."""

from __future__ import annotations

from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health as _health
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["Health"]


class Health:
    """Says whether the collector serves; NOT_SERVING until it is told otherwise."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._servicer: Any = cast("Any", _health).aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self, ready: bool) -> None:
        """Tell clients, also those that watch."""
        status = health_pb2.HealthCheckResponse
        await self._servicer.set("", status.SERVING if ready else status.NOT_SERVING)
