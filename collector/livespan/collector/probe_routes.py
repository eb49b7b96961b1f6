"""`/livez` and `/readyz`: whether the process answers at all, and whether it would take a request now.

    /livez    200 for as long as the loop runs
    /readyz   200, or 503 with one reason a line: leaving, hot tier full, publishing fails again and again

Both answer without a token, since a kubelet has none, and tell nothing that a token guards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from livespan.collector.readiness import Reasons

__all__ = ["LIVE_PATH", "READY_PATH", "probe_routes"]

LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"


def probe_routes(reasons: Callable[[], Reasons]) -> list[Route]:
    """Return the routes of both probes.

    Args:
        reasons: why the collector is not ready, asked at each probe.
    """

    async def live(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_request: Request) -> Response:
        found = reasons()
        if found:
            return PlainTextResponse("".join(f"{reason}\n" for reason in found), status_code=503)
        return PlainTextResponse("ok\n")

    return [Route(LIVE_PATH, live), Route(READY_PATH, ready)]
