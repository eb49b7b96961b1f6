"""GET /metrics as a Starlette route, for `Context.routes`."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livespan.collector.metrics.registry import Metrics

__all__ = ["metrics_route"]


def metrics_route(metrics: Metrics) -> Route:
    """Return the route; the numbers are gathered on a thread, so that no request waits for a scrape."""

    async def answer(request: Request) -> Response:
        scrape = await asyncio.to_thread(metrics.scrape, request.headers.get("accept", ""))
        return Response(scrape.text, headers={"content-type": scrape.content_type})

    return Route("/metrics", answer, methods=["GET"], name="metrics")
