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
from typing import Final, TypeAlias

from livespan.collector.hot import HotTier
from livespan.collector.log.committer import Committer, Outcome
from livespan.collector.log.protocol import Appended
from livespan.collector.refusals import RefusalReason, Refusals, reason_of
from livespan.proto.errors import Closed, InvalidInput, Unavailable
from livespan.proto.otlp import Request

__all__ = ["Intake", "IntakeCounts", "Tee"]

Tee: TypeAlias = Callable[[Request, int, int, int], None]
"""Gets a request, its size in bytes, the first `log_seq` of its spans, and how many there are."""

_MANY_RECORDS: Final = 4096
_LARGE_BYTES: Final = 4 * 1024 * 1024
"""Neither is passed by what a drain sends in one request."""


class IntakeCounts:
    """What came in, for status and metrics."""

    __slots__ = (
        "acknowledged_bytes",
        "acknowledged_records",
        "acknowledged_requests",
        "refusals",
        "unindexed_frames",
    )

    def __init__(self) -> None:
        self.acknowledged_bytes = 0
        self.acknowledged_records = 0
        self.acknowledged_requests = 0
        self.unindexed_frames = 0
        self.refusals = Refusals()

    @property
    def refused_requests(self) -> int:
        """How many requests were refused, for whatever reason."""
        return self.refusals.requests


class Intake:
    """Appends requests for the services of one collector.

    Args:
        committer: the log's; it delivers on the running loop.
        hot: where acknowledged records become visible.
        tee: gets each request, in the order of the log, after it was acknowledged and indexed; must neither wait nor
            raise.
    """

    def __init__(self, committer: Committer, hot: HotTier, tee: Tee | None = None) -> None:
        self.counts = IntakeCounts()
        self._committer = committer
        self._hot = hot
        self._tee = tee
        self._loop = asyncio.get_running_loop()
        self._to_index: deque[tuple[Request, int, Appended]] = deque()
        self._unindexed_bytes = 0
        self._indexed_seq = committer.next_seq
        self._progress = asyncio.Event()
        self._indexing = False
        self._closed = False

    @property
    def unindexed_requests(self) -> int:
        """How many acknowledged requests wait to be indexed."""
        return len(self._to_index)

    @property
    def full(self) -> bool:
        """Whether there is no room until the next publication."""
        return self._hot.full_with(self._unindexed_bytes)

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
        try:
            self._committer.submit(payload, count, admit, partial(self._resolve, future, request, len(payload)))
        except (Unavailable, Closed) as error:
            self._count_unqueued(error)
            raise
        return await future

    def append_here(self, payload: bytes, admit: Callable[[], None] | None, answer: Callable[[Outcome], None]) -> None:
        """Append a request on the calling thread, which is not the loop's; see context.AppendHere."""
        request = Request(payload)
        count = self._admissible(request)
        try:
            self._committer.commit(payload, count, admit, partial(self._count, request, len(payload)), answer)
        except (Unavailable, Closed) as error:
            self._count_unqueued(error)
            raise

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

    def admit(self) -> None:
        """Return where something may be appended now.

        Raises:
            Unavailable: the collector is leaving, or has no room until it has published.
        """
        if self._closed:
            self.counts.refusals.add(RefusalReason.LEAVING)
            raise Unavailable("the collector is leaving", hint="Try again; it may be started anew.")
        if self.full:
            self.counts.refusals.add(RefusalReason.HOT_TIER_FULL)
            raise Unavailable("the hot tier is full until the next publication", hint="Try again in a moment.")

    def _admissible(self, request: Request) -> int:
        """Return how many records a request has; raises where it cannot be taken now, or not at all."""
        count = request.count()
        if count == 0:
            raise InvalidInput("a request without spans has nothing to append")
        self.admit()
        return count

    def _count_unqueued(self, error: Unavailable | Closed) -> None:
        """Count what the committer refused at once; the rest is counted by its outcome."""
        full = isinstance(error, Unavailable)
        self.counts.refusals.add(RefusalReason.QUEUE_FULL if full else RefusalReason.LEAVING)

    def _resolve(self, future: asyncio.Future[Appended], request: Request, size_bytes: int, outcome: Outcome) -> None:
        if not future.cancelled():
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._count(request, size_bytes, outcome)

    def _count(self, request: Request, size_bytes: int, outcome: Outcome) -> None:
        if isinstance(outcome, BaseException):
            self.counts.refusals.add(reason_of(outcome))
            return
        self.counts.acknowledged_requests += 1
        self.counts.acknowledged_records += outcome.count
        self.counts.acknowledged_bytes += size_bytes
        self._to_index.append((request, size_bytes, outcome))
        self._unindexed_bytes += size_bytes
        if not self._indexing:
            self._indexing = True
            self._loop.call_soon(self._index_next)

    def _index_next(self) -> None:
        """Index one frame and come back for the next, so that the loop serves others in between."""
        request, size_bytes, appended = self._to_index.popleft()
        if appended.count > _MANY_RECORDS or size_bytes > _LARGE_BYTES:
            # It would hold up effects and leases for a second; those behind it wait, so that one thread adds at a time.
            adding = self._loop.run_in_executor(None, self._add, request, size_bytes, appended)
            adding.add_done_callback(lambda done: self._after(appended, size_bytes, done))
            return
        try:
            self._add(request, size_bytes, appended)
        finally:
            self._indexed(appended, size_bytes)

    def _add(self, request: Request, size_bytes: int, appended: Appended) -> None:
        try:
            self._hot.add(request.records(appended.first_seq), appended.ref, size_bytes)
        except Exception:
            self.counts.unindexed_frames += 1
            raise  # the loop tells of it
        if self._tee is not None:
            self._tee(request, size_bytes, appended.first_seq, appended.count)

    def _after(self, appended: Appended, size_bytes: int, adding: asyncio.Future[None]) -> None:
        self._indexed(appended, size_bytes)
        adding.result()  # the loop's handler is told what a bug raised, as it is of a small frame

    def _indexed(self, appended: Appended, size_bytes: int) -> None:
        """Go on behind a frame: whatever it did to the tier, those behind it are indexed, and nobody waits for ever."""
        self._unindexed_bytes -= size_bytes
        self._indexed_seq = appended.first_seq + appended.count
        self._progress.set()
        if self._to_index:
            self._loop.call_soon(self._index_next)
        else:
            self._indexing = False
