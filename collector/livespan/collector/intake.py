"""The way in: a request is parsed and checked, committed, acknowledged, and only then indexed.

    append()      ─▶ committer's thread ─▶ admit, fdatasync ─▶ loop: futures resolved, acks go out ─┐
    append_here() ─▶ the caller's thread ─▶ admit, fdatasync ─▶ `answer`: the ack goes out          ─┴─▶ loop: indexed

Indexing is the loop's work, milliseconds later, in the order of the log; the committer wakes it once per batch
(`deliver_in`). `indexed` waits for it, so that who was acknowledged sees what he wrote, whichever way it came.
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

    __slots__ = ("acknowledged_records", "refused_requests", "unindexed_frames")

    def __init__(self) -> None:
        self.acknowledged_records = 0
        self.refused_requests = 0
        self.unindexed_frames = 0


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
        self._indexed_seq = committer.next_seq
        self._progress = asyncio.Event()
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
        count = self._admissible(request)
        future: asyncio.Future[Appended] = self._loop.create_future()
        self._committer.submit(payload, count, admit, partial(self._resolve, future, request, len(payload)))
        return await future

    def append_here(self, payload: bytes, admit: Callable[[], None] | None, answer: Callable[[Outcome], None]) -> None:
        """Append a request on the calling thread, which is not the loop's; see context.AppendHere."""
        request = Request(payload)
        count = self._admissible(request)
        self._committer.commit(payload, count, admit, partial(self._count, request, len(payload)), answer)

    async def indexed(self) -> None:
        """Return when all that was acknowledged before this call is in the hot tier."""
        upto = self._committer.next_seq
        while self._indexed_seq < upto:
            self._progress.clear()
            await self._progress.wait()

    async def settled(self) -> None:
        """Return when outcomes that the committer has delivered are resolved and indexed; for the end."""
        await asyncio.sleep(0)
        await self.indexed()

    def close(self) -> None:
        """Refuse what comes from now on."""
        self._closed = True

    def _admissible(self, request: Request) -> int:
        """Return how many records a request has; raises where it cannot be taken now, or not at all."""
        if self._closed:
            raise Unavailable("the collector is leaving", hint="Try again; it may be started anew.")
        count = request.count()
        if count == 0:
            raise InvalidInput("a request without spans has nothing to append")
        if self._hot.full:
            self.counts.refused_requests += 1
            raise Unavailable("the hot tier is full until the next publication", hint="Try again in a moment.")
        return count

    def _resolve(self, future: asyncio.Future[Appended], request: Request, size_bytes: int, outcome: Outcome) -> None:
        if not future.cancelled():
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._count(request, size_bytes, outcome)

    def _count(self, request: Request, size_bytes: int, outcome: Outcome) -> None:
        if isinstance(outcome, BaseException):
            self.counts.refused_requests += 1
            return
        self.counts.acknowledged_records += outcome.count
        self._to_index.append((request, size_bytes, outcome))
        if not self._indexing:
            self._indexing = True
            self._loop.call_soon(self._index_next)

    def _index_next(self) -> None:
        """Index one frame and come back for the next, so that the loop serves others in between."""
        request, size_bytes, appended = self._to_index.popleft()
        try:
            self._hot.add(request.records(appended.first_seq), appended.ref, size_bytes)
        except Exception:
            self.counts.unindexed_frames += 1
            raise  # the loop tells of it
        finally:
            # Whatever a frame does to the tier, those behind it are indexed, and nobody waits for it for ever.
            self._indexed_seq = appended.first_seq + appended.count
            self._progress.set()
            if self._to_index:
                self._loop.call_soon(self._index_next)
            else:
                self._indexing = False
