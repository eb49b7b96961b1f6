"""The way in: a request is parsed and checked, committed, acknowledged, and only then indexed.

    append() ──▶ committer thread ──▶ (fdatasync) ──▶ loop: futures resolved ──▶ loop: frames indexed into the hot tier
                  admit() just before the write          the callers' acks go out     milliseconds later

Everything here runs on the collector's loop; the committer wakes it once per batch (`deliver_in`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from livespan.collector.hot import HotTier
from livespan.collector.log.committer import Committer, Outcome
from livespan.collector.log.protocol import Appended
from livespan.proto.errors import InvalidInput, Unavailable
from livespan.proto.otlp import Request

__all__ = ["Intake", "IntakeCounts"]


class IntakeCounts:
    """What came in, for status and metrics."""

    __slots__ = ("acknowledged_records", "refused_requests")

    def __init__(self) -> None:
        self.acknowledged_records = 0
        self.refused_requests = 0


class Intake:
    """Appends requests for the services of one collector.

    Args:
        committer: the log's; it delivers on the running loop.
        hot: where acknowledged records become visible.
    """

    def __init__(self, committer: Committer, hot: HotTier) -> None:
        self.counts = IntakeCounts()
        self._committer = committer
        self._hot = hot
        self._loop = asyncio.get_running_loop()
        self._to_index: deque[tuple[Request, int, Appended]] = deque()
        self._indexed = asyncio.Event()
        self._indexed.set()
        self._indexing = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    async def append(self, payload: bytes, admit: Callable[[], None] | None = None) -> Appended:
        """Append a request; see context.Append."""
        return await self.append_parsed(payload, Request(payload), admit)

    async def append_parsed(
        self, payload: bytes, request: Request, admit: Callable[[], None] | None = None
    ) -> Appended:
        """Append a request that was parsed already."""
        if self._closed:
            raise Unavailable("the collector is leaving", hint="Try again; it may be started anew.")
        count = request.count()
        if count == 0:
            raise InvalidInput("a request without spans has nothing to append")
        if self._hot.full:
            self.counts.refused_requests += 1
            raise Unavailable("the hot tier is full until the next publication", hint="Try again in a moment.")
        future: asyncio.Future[Appended] = self._loop.create_future()
        self._committer.submit(payload, count, admit, partial(self._resolve, future, request, len(payload)))
        return await future

    async def indexed(self) -> None:
        """Return when all that was acknowledged before this call is in the hot tier."""
        await self._indexed.wait()

    async def settled(self) -> None:
        """Return when outcomes that the committer has delivered are resolved and indexed; for the end."""
        await asyncio.sleep(0)
        await self._indexed.wait()

    def close(self) -> None:
        """Refuse what comes from now on."""
        self._closed = True

    def _resolve(self, future: asyncio.Future[Appended], request: Request, size_bytes: int, outcome: Outcome) -> None:
        if isinstance(outcome, BaseException):
            self.counts.refused_requests += 1
            if not future.cancelled():
                future.set_exception(outcome)
            return
        self.counts.acknowledged_records += outcome.count
        self._to_index.append((request, size_bytes, outcome))
        if not future.cancelled():
            future.set_result(outcome)
        if not self._indexing:
            self._indexing = True
            self._indexed.clear()
            self._loop.call_soon(self._index_next)

    def _index_next(self) -> None:
        """Index one frame and come back for the next, so that the loop serves others in between."""
        request, size_bytes, appended = self._to_index.popleft()
        self._hot.add(request.records(appended.first_seq), appended.ref, size_bytes)
        if self._to_index:
            self._loop.call_soon(self._index_next)
        else:
            self._indexing = False
            self._indexed.set()
