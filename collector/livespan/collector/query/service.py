"""The Query service: messages in, JSON out. What is read and derived lives in engine.py and runs.py.

Nothing of DuckDB runs on the loop. Our own reads have threads of their own; users' statements have processes, and
threads that wait for them, so that no SELECT can keep `runs list` waiting. The process of a caller who goes away is
killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar

import grpc
import grpc.aio
import msgspec

from livespan.collector.query.engine import Answer, QueryEngine
from livespan.collector.query.runs import Held, RunFilter, list_runs, show_run
from livespan.collector.query.shapes import RunSummary
from livespan.collector.query.tails import Tails
from livespan.proto.errors import LivespanError, Stop, Unavailable
from livespan.proto.rpc import abort
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryServicer, add_QueryServicer_to_server

__all__ = ["QueryService", "add_query_service"]

_T = TypeVar("_T")
_Call: TypeAlias = "grpc.aio.ServicerContext[object, object]"
_READERS: Final = 2
_STATEMENTS: Final = 2
_KEPT_S: Final = 60.0
_NO_ROWS: Final = b"[]"


class QueryService(QueryServicer):
    """The service itself; its methods are coroutines of the collector's loop. Closed by who made it.

    Args:
        engine: what reads; closed with the service.
        held: whether a living process holds the run of a trace id.
        status: what `Status` answers, asked anew each time, on the loop.
        indexed: waits until what was acknowledged before is visible.
        activity: called at each request.
    """

    def __init__(
        self,
        engine: QueryEngine,
        *,
        held: Held,
        status: Callable[[], Mapping[str, object]],
        indexed: Callable[[], Awaitable[None]],
        activity: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._held = held
        self._status = status
        self._indexed = indexed
        self._activity = activity
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="livespan-read")
        self._statements = ThreadPoolExecutor(_STATEMENTS, thread_name_prefix="livespan-sql")
        self._turns = asyncio.Semaphore(_STATEMENTS)
        self._answers: set[Answer] = set()
        self._retiring: asyncio.TimerHandle | None = None
        self.tails = Tails()

    async def close(self) -> None:
        """End what is followed and what runs, and wait for its threads and processes."""
        self.tails.close()
        if self._retiring is not None:
            self._retiring.cancel()
        for answer in list(self._answers):
            answer.cancel()
        for pool in (self._readers, self._statements):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._engine.close)

    async def ListRuns(self, request: pb.ListRunsRequest, context: _Call) -> pb.JsonReply:
        left_out: list[str] = []

        def read() -> list[RunSummary]:
            tags = dict(request.tags)
            wanted = RunFilter(request.project, request.status, request.session, tags, request.limit, request.named)
            listing = list_runs(self._engine, self._held, wanted)
            left_out.extend(map(str, listing.left_out))
            return listing.runs

        reply = await self._read(context, read)
        reply.damaged.extend(left_out)
        return reply

    async def ShowRun(self, request: pb.ShowRunRequest, context: _Call) -> pb.JsonReply:
        run = request.run
        return await self._read(
            context, lambda: show_run(self._engine, self._held, run.project, run.run_id, run.generation)
        )

    async def Status(self, request: pb.StatusRequest, context: _Call) -> pb.JsonReply:
        # Not an activity: whoever watches a collector must not keep it from leaving.
        del request, context
        return pb.JsonReply(json=msgspec.json.encode(self._status(), enc_hook=str))

    async def Sql(self, request: pb.SqlRequest, context: _Call) -> AsyncIterator[pb.SqlReply]:
        self._activity()
        try:
            await self._take_turn()
        except Unavailable as error:
            await abort(context, error)
            return
        try:
            async with aclosing(self._answered(request, context)) as replies:
                async for reply in replies:
                    yield reply
        finally:
            self._turns.release()

    async def _take_turn(self) -> None:
        """Wait until fewer statements are open than may be: each has memory of its own."""
        wait_s = self._engine.limits.timeout_s
        try:
            await asyncio.wait_for(self._turns.acquire(), wait_s)
        except TimeoutError:
            raise Unavailable(
                f"{_STATEMENTS} other statements have run for {wait_s:g} s",
                subject="sql",
                hint="Try again in a moment.",
            ) from None

    async def _answered(self, request: pb.SqlRequest, context: _Call) -> AsyncGenerator[pb.SqlReply]:
        answer = self._engine.select(request.sql)
        self._answers.add(answer)
        expiry: asyncio.TimerHandle | None = None
        work: asyncio.Future[bytes] | None = None
        try:
            await self._indexed()
            first = True
            while first or answer.is_open:
                work = asyncio.ensure_future(self._in(self._statements, answer.more))
                rows = await asyncio.shield(work)
                if first:
                    expiry = asyncio.get_running_loop().call_later(answer.left_s, answer.expire)
                if first or rows != _NO_ROWS:
                    yield pb.SqlReply(columns=answer.columns if first else (), rows=b"" if rows == _NO_ROWS else rows)
                first = False
        except (LivespanError, Stop) as error:
            await abort(context, error)
        finally:
            if expiry is not None:
                expiry.cancel()
            if work is not None and not work.done():
                answer.cancel()
                await asyncio.wait([work])
            if answer.is_open:
                await asyncio.to_thread(answer.close)
            self._answers.discard(answer)
            self._retire_later()

    def _retire_later(self) -> None:
        """Have the processes that statements ran in leave when no statement has come for a while."""
        if self._retiring is not None:
            self._retiring.cancel()
        self._retiring = asyncio.get_running_loop().call_later(_KEPT_S, self._retire)

    def _retire(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._engine.retire, _KEPT_S)

    async def Tail(self, request: pb.TailRequest, context: _Call) -> AsyncIterator[pb.JsonReply]:
        # Not an activity either: an idle collector leaves, and says so by ending the stream.
        try:
            async with aclosing(self.tails.follow(request.project, request.run_id)) as told:
                await context.send_initial_metadata(())
                async for lines in told:
                    yield pb.JsonReply(json=lines)
        except LivespanError as error:
            await abort(context, error)

    async def _read(self, context: _Call, read: Callable[[], object]) -> pb.JsonReply:
        self._activity()
        try:
            await self._indexed()
            return pb.JsonReply(json=await self._in(self._readers, _encoded, read))
        except (LivespanError, Stop) as error:
            await abort(context, error)
            raise  # abort raises; this is for the type checker

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *args)


def add_query_service(
    server: grpc.aio.Server,
    engine: QueryEngine,
    *,
    held: Held,
    status: Callable[[], Mapping[str, object]],
    indexed: Callable[[], Awaitable[None]],
    activity: Callable[[], None],
) -> QueryService:
    """Add the service to the collector's server and return it, to be closed; arguments as in QueryService."""
    service = QueryService(engine, held=held, status=status, indexed=indexed, activity=activity)
    add_QueryServicer_to_server(service, server)
    return service


def _encoded(read: Callable[[], object]) -> bytes:
    return msgspec.json.encode(read())
