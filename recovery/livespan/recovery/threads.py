"""The Threads service: what is recorded of LangGraph's threads, for the saver that keeps them here.

Nothing is held and nobody is asked: a thread is no run, has no lease, and is written to by OTLP's Export, or on one
machine over the intend socket (`RecoveryService.local_admission`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio

from livespan.collector.context import Context
from livespan.proto import attributes as names
from livespan.proto.errors import LivespanError, Stop
from livespan.proto.record import Record
from livespan.proto.rpc import abort
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import ThreadsServicer, add_ThreadsServicer_to_server

__all__ = ["ThreadsService", "register"]

_Call: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class ThreadsService(ThreadsServicer):
    """The service itself; its methods are coroutines of the collector's loop."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def Read(self, request: pb.ReadThreadRequest, context: _Call) -> AsyncIterator[pb.ReadThreadReply]:  # noqa: N802  # gRPC's name
        try:
            self._context.activity()
            await self._context.indexed()
            threads = self._context.threads
            records = await asyncio.to_thread(threads.records, request.project, request.thread_id)
            behind = [record for record in records if record.log_seq > request.after]
            anew = len(records) - len(behind) != request.known
            yield pb.ReadThreadReply(anew=anew)
            parts = threads.with_states(records if anew else behind)
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                yield pb.ReadThreadReply(records=[_told(record, state) for record, state in part])
        except (LivespanError, Stop) as error:
            await abort(context, error)

    async def List(self, request: pb.ListThreadsRequest, context: _Call) -> pb.ListThreadsReply:  # noqa: N802  # gRPC's name
        try:
            self._context.activity()
            await self._context.indexed()
            wanted = frozenset(request.langgraph_runs)
            found = await asyncio.to_thread(self._context.threads.listed, request.project, wanted)
        except (LivespanError, Stop) as error:
            await abort(context, error)
            raise  # abort raises; this is for the type checker
        return pb.ListThreadsReply(thread_ids=found)


def register(server: grpc.aio.Server, context: Context) -> None:
    """Add the service to the collector's server."""
    add_ThreadsServicer_to_server(ThreadsService(context), server)


def _told(record: Record, state: bytes) -> pb.ThreadRecord:
    return pb.ThreadRecord(
        order=record.log_seq,
        event=record.name,
        namespace=record.text(names.SCOPE),
        checkpoint_id=record.text(names.CHECKPOINT_ID),
        state=state,
    )
