"""What people and supervisors ask of a run, beside the agent that runs it: settle, cancel, plan, how it stands.

The rules live in settling.py, cancelling.py, planner/, standing.py and interrupted.py; here they meet the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec

from livespan.collector.context import Context
from livespan.collector.run_history import RunHistory
from livespan.proto.errors import LivespanError, NotFound
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.cancelling import cancel_request
from livespan.recovery.interrupted import interrupted_runs
from livespan.recovery.leases import Leases
from livespan.recovery.planning import planned
from livespan.recovery.settling import settle_request
from livespan.recovery.standing import standing_of

__all__ = ["Desk"]


class Desk:
    """Answers on the collector's loop; what it raises is told to the caller.

    Args:
        sweep: ends the leases that are over, so that nobody is taken for a holder who is none.
        turn: the lock of a run, by its project and id: what the record says must still be so when it is acted upon.
    """

    def __init__(
        self,
        context: Context,
        leases: Leases,
        *,
        sweep: Callable[[], Awaitable[None]],
        turn: Callable[[pb.RunRef], asyncio.Lock],
    ) -> None:
        self._context = context
        self._leases = leases
        self._sweep = sweep
        self._turn = turn

    async def resolve(self, request: pb.ResolveRequest) -> pb.ResolveReply:
        """Settle doubt by hand."""
        await self._sweep()
        await self._context.indexed()
        run = await self._known(request.run)
        record, payload = settle_request(
            run, request, held=self._leases.held(run.trace_id), now_ns=self._context.clock.wall_ns()
        )
        appended = await self._context.append(payload)
        await self._context.indexed()
        return pb.ResolveReply(node_id=record.node_id.hex(), log_seq=appended.first_seq)

    async def interrupted(self, request: pb.InterruptedRequest) -> pb.InterruptedReply:
        """Return the runs that stopped before their end, and how each was started."""
        await self._sweep()
        await self._context.indexed()
        listed = partial(self._context.list_runs, request.project)
        return await asyncio.to_thread(interrupted_runs, listed, self._newest)

    async def standing(self, request: pb.StandingRequest) -> pb.StandingReply:
        """Return how a run stands, for who starts it again."""
        await self._sweep()
        await self._context.indexed()
        run = await asyncio.to_thread(self._newest, request.run.project, request.run.run_id)
        return standing_of(run, self._leases.holder(run.trace_id) if run else None)

    async def plan(self, request: pb.PlanRequest) -> pb.PlanReply:
        """Return what a resumed run would do with each node."""
        self._context.activity()
        with suppress(LivespanError):  # the log is full or closed, which a plan does not need
            await self._sweep()
        await self._context.indexed()
        plan = await asyncio.to_thread(planned, self._context, self._leases, request.run)
        return pb.PlanReply(json=msgspec.json.encode(plan))

    async def cancel(self, request: pb.CancelRequest) -> pb.CancelReply:
        """See to it that nothing of a run is started any more."""
        self._context.activity()
        async with self._turn(request.run):
            await self._sweep()
            await self._context.indexed()
            run = await self._known(request.run)
            if run.cancelled is not None:
                return pb.CancelReply(log_seq=run.cancelled.log_seq, held=self._leases.cancel(run.trace_id))
            # Both or neither, also where who asked goes away meanwhile: a recorded cancellation must stop the holder.
            return await asyncio.shield(self._cancelled(run, request.by))

    async def _cancelled(self, run: RunHistory, by: str) -> pb.CancelReply:
        appended = await self._context.append(cancel_request(run, by, self._context.clock.wall_ns()))
        held = self._leases.cancel(run.trace_id)
        return pb.CancelReply(log_seq=appended.first_seq, held=held)

    def _newest(self, project: str, run_id: str) -> RunHistory | None:
        return self._context.history.run(project, run_id)

    async def _known(self, ref: pb.RunRef) -> RunHistory:
        run = await asyncio.to_thread(self._newest, ref.project, ref.run_id)
        if run is None:
            raise NotFound("no such run", subject=f"run {ref.run_id}", hint="`livespan runs list` shows the runs.")
        return run
