"""The Recovery service: messages in, leases and history asked, records out.

The rules live in leases.py and opening.py; what is not an agent's to ask is desk.py's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import grpc
import grpc.aio

from livespan.collector.context import Context
from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import InvalidInput, LivespanError, NotFound, RunFinished, Stop
from livespan.proto.holder import holder_process
from livespan.proto.ids import THREAD_PREFIX, trace_id
from livespan.proto.intend_socket import intend_path
from livespan.proto.process import ProcessId
from livespan.proto.record import Record, RecordKind
from livespan.proto.rpc import abort
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryServicer, add_RecoveryServicer_to_server
from livespan.recovery.cancelling import refuse_cancelled
from livespan.recovery.desk import Desk
from livespan.recovery.distant_holder import DistantHolders
from livespan.recovery.intend_listener import IntendListener
from livespan.recovery.lease_counts import LeaseCounts
from livespan.recovery.lease_record import attempt_request, lease_from_record, lease_request
from livespan.recovery.leases import Lease, LeaseEvent, Leases
from livespan.recovery.opening import open_replies
from livespan.recovery.tail import tail_unknown

__all__ = ["LeaseAdmission", "RecoveryService", "register"]

_SWEEP_S: Final = 0.5
_T = TypeVar("_T")
_Call: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class LeaseAdmission:
    """Answers the collector out of the leases."""

    def __init__(self, leases: Leases, clock_ns: Callable[[], int]) -> None:
        self._leases = leases
        self._clock_ns = clock_ns

    def held(self, trace_id: bytes) -> bool:
        return self._leases.held(trace_id)

    def replay(self, record: Record) -> None:
        self._leases.know_epoch(record.trace_id, record.epoch)
        if record.kind is not RecordKind.LEASE:
            return
        if record.text(names.LEASE_EVENT) == LeaseEvent.CANCELLED:
            self._leases.cancel(record.trace_id)
            return
        told = lease_from_record(record)
        if told is None:
            return
        event, lease = told
        if event is LeaseEvent.GRANTED:
            self._leases.restore(lease)
        else:
            self._leases.release(lease.trace_id, lease.epoch)

    def snapshot(self, below_seq: int) -> list[tuple[bytes, Callable[[], None]]]:
        del below_seq  # leases are few, and segments are let go rarely: all of them are said again
        now = self._clock_ns()
        return [
            (
                lease_request(lease, LeaseEvent.GRANTED, 0, now),
                partial(self._leases.still_held, lease.trace_id, lease.epoch),
            )
            for lease in self._leases.live()
        ]


class RecoveryService(RecoveryServicer):
    """The service itself; its methods are coroutines of the collector's loop.

    Attributes:
        counts: what the operator hears of leases.
    """

    def __init__(self, context: Context, leases: Leases) -> None:
        self._context = context
        self._leases = leases
        self.counts = LeaseCounts(lambda: len(leases.live()))
        self._sweeper: asyncio.Task[None] | None = None
        self._watched: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._desk = Desk(context, leases, sweep=self._sweep, turn=self._turn)

    async def start(self) -> None:
        """Watch the holders that the log showed, and look for leases that end by themselves."""
        for lease in self._leases.live():
            self._watch(lease.holder)
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="livespan-leases")

    async def close(self) -> None:
        """Stop watching; leases stay in the log and are taken up by the next collector."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for pid in list(self._watched):
            self._unwatch(pid)

    async def Hold(
        self, request_iterator: AsyncIterator[pb.HoldRequest], context: _Call
    ) -> AsyncIterator[pb.HoldReply]:
        granted: Lease | None = None
        try:
            async for request in request_iterator:
                self._context.activity()
                if granted is None:
                    granted, reply = await self._grant(request)
                else:
                    granted = self._leases.renew(granted.trace_id, granted.epoch)
                    reply = pb.HoldReply(epoch=granted.epoch, lease_s=self._leases.lease_s, cancelled=granted.cancelled)
                yield reply
        except (LivespanError, Stop) as error:
            await abort(context, error)

    async def Open(self, request: pb.OpenRequest, context: _Call) -> AsyncIterator[pb.OpenReply]:
        try:
            self._context.activity()
            trace = _trace(request.run)
            self._leases.still_held(trace, request.epoch)
            await self._context.indexed()
            run = await asyncio.to_thread(self._run, request.run)
            if run is None:
                return
            replies = open_replies(run, self._context.history.content)
            # One batch at a time, so that the other side folds one while the next is made.
            while (reply := await asyncio.to_thread(next, replies, None)) is not None:
                yield reply
        except (LivespanError, Stop) as error:
            await abort(context, error)

    async def Fetch(self, request: pb.FetchRequest, context: _Call) -> pb.FetchReply:
        return await _answer(context, self._fetch(request))

    async def Intend(self, request: pb.IntendRequest, context: _Call) -> pb.IntendReply:
        return await _answer(context, self._intend(request))

    async def Close(self, request: pb.CloseRequest, context: _Call) -> pb.CloseReply:
        return await _answer(context, self._close(request))

    async def Resolve(self, request: pb.ResolveRequest, context: _Call) -> pb.ResolveReply:
        return await _answer(context, self._desk.resolve(request))

    async def Plan(self, request: pb.PlanRequest, context: _Call) -> pb.PlanReply:
        return await _answer(context, self._desk.plan(request))

    async def Interrupted(self, request: pb.InterruptedRequest, context: _Call) -> pb.InterruptedReply:
        return await _answer(context, self._desk.interrupted(request))

    async def Standing(self, request: pb.StandingRequest, context: _Call) -> pb.StandingReply:
        return await _answer(context, self._desk.standing(request))

    async def Cancel(self, request: pb.CancelRequest, context: _Call) -> pb.CancelReply:
        return await _answer(context, self._desk.cancel(request))

    async def _grant(self, request: pb.HoldRequest) -> tuple[Lease, pb.HoldReply]:
        if not request.run.run_id or not request.run.project:
            raise InvalidInput("a run needs a project and an id", hint='Give both: run("order-17", project="shop").')
        if request.epoch:
            lease = self._leases.renew(_trace(request.run), request.epoch)
            return lease, pb.HoldReply(
                epoch=lease.epoch,
                generation=lease.generation,
                lease_s=self._leases.lease_s,
                cancelled=lease.cancelled,
            )
        # Both or neither, also where who asked goes away meanwhile: what is recorded as granted is held, so that the
        # same question again finds it.
        return await asyncio.shield(self._granted(request))

    async def _granted(self, request: pb.HoldRequest) -> tuple[Lease, pb.HoldReply]:
        # One at a time for each run: what the record says must still be so when the lease is granted.
        async with self._turn(request.run):
            return await self._grant_new(request)

    def _turn(self, ref: pb.RunRef) -> asyncio.Lock:
        return self._turns.setdefault((ref.project, ref.run_id), asyncio.Lock())

    async def _grant_new(self, request: pb.HoldRequest) -> tuple[Lease, pb.HoldReply]:
        await self._sweep()
        await self._context.indexed()
        run = await asyncio.to_thread(self._newest, request.run.project, request.run.run_id)
        refuse_cancelled(run, request.if_finished)
        finished = run is not None and run.finished
        generation = run.generation if run else 0
        if finished and request.if_finished == "raise":
            raise RunFinished(
                "the run is finished",
                subject=f"run {request.run.run_id}",
                hint='Use if_finished="return" to get its recorded answers, "new" to run it afresh, or another id.',
            )
        if run is not None and (finished or run.cancelled) and request.if_finished == "new":
            run, finished, generation = None, False, generation + 1
        holder = holder_process(request.holder)
        wanted = Lease(
            trace_id=trace_id(request.run.project, request.run.run_id, generation),
            project=request.run.project,
            run_id=request.run.run_id,
            generation=generation,
            epoch=0,
            holder=holder,
            spool_id=request.holder.spool_id,
            expires_s=0.0,
            token=request.token,
            lock=request.holder.lock,
        )
        last_epoch = run.last_epoch if run else 0
        lease = self._leases.acquire(wanted, last_epoch)
        number = (run.last_attempt if run else 0) + 1
        if run is not None and lease.epoch == last_epoch:
            # The same question again: its attempt is recorded, and only the answer was lost.
            self._watch(holder)
            return lease, pb.HoldReply(
                epoch=lease.epoch,
                attempt=run.last_attempt,
                generation=generation,
                lease_s=self._leases.lease_s,
                finished=finished,
                tail_unknown=False,
            )
        self._context.faults("lease.granted")
        try:
            await self._context.append(attempt_request(lease, number, request.attempt, self._context.clock.wall_ns()))
        except BaseException:
            self._leases.release(lease.trace_id, lease.epoch)
            raise
        self._context.faults("lease.recorded")
        self.counts.happened(lease, LeaseEvent.GRANTED)
        self._watch(holder)
        return lease, pb.HoldReply(
            epoch=lease.epoch,
            attempt=number,
            generation=generation,
            lease_s=self._leases.lease_s,
            finished=finished,
            tail_unknown=tail_unknown(run, request.holder.spool_id),
        )

    async def _fetch(self, request: pb.FetchRequest) -> pb.FetchReply:
        await self._context.indexed()
        run = await asyncio.to_thread(self._run, request.run)
        call = run.calls.get(request.node_id) if run else None
        if run is None or call is None:
            raise NotFound("no such node", subject=f"run {request.run.run_id}, node {request.node_id.hex()}")
        newest, started = call
        record = (started or newest) if request.what == "input" else newest
        content = await asyncio.to_thread(self._context.history.content, record, request.what)
        return pb.FetchReply(content=content)

    def admission(self, request: pb.IntendRequest) -> Callable[[], None]:
        """Return what is asked just before an effect's start is appended, whichever way it came."""
        self._context.activity()
        self.counts.intended()
        return partial(self._leases.admit, _trace(request.run), request.epoch)

    def local_admission(self, request: pb.IntendRequest) -> Callable[[], None]:
        """Return the same for the machine's own socket, over which threads are written too: they have no epoch."""
        if request.epoch or not request.run.run_id.startswith(THREAD_PREFIX):
            return self.admission(request)
        self._context.activity()
        return _anything

    async def _intend(self, request: pb.IntendRequest) -> pb.IntendReply:
        appended = await self._context.append(request.export, self.admission(request))
        return pb.IntendReply(log_seq=appended.first_seq + appended.count - 1)

    async def _close(self, request: pb.CloseRequest) -> pb.CloseReply:
        seq = 0
        if request.export:
            appended = await self._context.append(request.export)
            seq = appended.first_seq + appended.count - 1
        self._context.faults("lease.before_release")
        lease = self._leases.of(_trace(request.run), request.epoch)
        if lease is not None:
            # Also where who asked goes away meanwhile: a lease that its record ends must not live on.
            await asyncio.shield(self._released(lease, request.stopped if request.HasField("stopped") else None))
        return pb.CloseReply(log_seq=seq)

    async def _released(self, lease: Lease, stopped: pb.ErrorDetail | None) -> None:
        """Record a lease's end, and end it; where there is no room for the record now, whoever asked asks again."""
        await self._note(lease, LeaseEvent.RELEASED, stopped)
        self._leases.release(lease.trace_id, lease.epoch)
        self._context.faults("lease.released")

    def _run(self, ref: pb.RunRef) -> RunHistory | None:
        return self._context.history.run(ref.project, ref.run_id, ref.generation)

    def _newest(self, project: str, run_id: str) -> RunHistory | None:
        return self._context.history.run(project, run_id)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self._sweep()
            except LivespanError:
                continue  # the log is full or closed; the lease is over all the same, its record is for people

    async def _sweep(self) -> None:
        for lease, event in self._leases.over():
            self._unwatch(lease.holder.pid)
            await self._note(lease, event)

    async def _note(self, lease: Lease, event: LeaseEvent, stopped: pb.ErrorDetail | None = None) -> None:
        self.counts.happened(lease, event)
        await self._context.append(lease_request(lease, event, 0, self._context.clock.wall_ns(), stopped))

    def _watch(self, holder: ProcessId) -> None:
        """Learn of a local holder's death at once; a forked child may keep its socket open, so the stream cannot
        tell.
        """
        if not holder.is_local() or holder.pid in self._watched:
            return
        try:
            descriptor = os.pidfd_open(holder.pid)
        except OSError:
            return  # it is gone already, or the kernel has no pidfd: the sweep finds out
        self._watched[holder.pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._died, holder.pid)

    def _died(self, pid: int) -> None:
        self._unwatch(pid)
        self._tasks.add(task := asyncio.create_task(self._sweep_quietly()))
        task.add_done_callback(self._tasks.discard)

    async def _sweep_quietly(self) -> None:
        try:
            await self._sweep()
        except LivespanError:
            return

    def _unwatch(self, pid: int) -> None:
        descriptor = self._watched.pop(pid, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)


def register(server: grpc.aio.Server, context: Context) -> None:
    """Add the service to the collector's server, and its leases as the collector's admission."""
    distant = DistantHolders(context.home.spool)
    leases = Leases(
        context.clock,
        context.settings.lease_s,
        lambda lease: distant.is_dead(lease.holder, lease.spool_id, lease.lock),
        fencing=context.protections.fencing,
    )
    service = RecoveryService(context, leases)
    add_RecoveryServicer_to_server(service, server)
    context.admission = LeaseAdmission(leases, context.clock.wall_ns)
    context.busy.append(lambda: bool(leases.live()))
    context.metrics.add("recovery", service.counts.families)
    context.status["leases"] = lambda: [
        {"run_id": lease.run_id, "project": lease.project, "epoch": lease.epoch, "holder": str(lease.holder)}
        for lease in leases.live()
    ]
    context.starting.append(service.start)
    context.closing.append(service.close)
    path = intend_path(context.target)
    if path is not None:
        intends = IntendListener(path, context.append_here, service.local_admission)
        context.metrics.add("intends", intends.families)
        context.starting.append(intends.start)
        context.closing.append(intends.close)


def _anything() -> None:
    """Admit what starts nothing."""


def _trace(ref: pb.RunRef) -> bytes:
    return trace_id(ref.project, ref.run_id, ref.generation)


async def _answer(context: _Call, work: Awaitable[_T]) -> _T:
    try:
        return await work
    except (LivespanError, Stop) as error:
        await abort(context, error)
        raise  # abort raises; this is for the type checker
