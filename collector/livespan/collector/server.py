"""The collector of one home: opens what is on disk, serves, publishes, leaves. The parts live in their own files;
here they meet.

start   lock the home ─▶ log ─▶ lake ─▶ services register ─▶ replay the log ─▶ publisher ─▶ listen ─▶ announce
end     withdraw the address ─▶ refuse with UNAVAILABLE ─▶ committer ─▶ publish ─▶ services ─▶ ports ─▶ log ─▶ unlock
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Final

from msgspec import to_builtins

from livespan.collector.bounded import finishes_within
from livespan.collector.context import Context
from livespan.collector.forward.target import ForwardTarget
from livespan.collector.history import History
from livespan.collector.home_lock import HomeLock, socket_path
from livespan.collector.hot import HotTier
from livespan.collector.intake import Intake
from livespan.collector.known_faults import KnownFaults
from livespan.collector.lake.publisher import Publisher
from livespan.collector.lake.publishing import Publishing
from livespan.collector.lake.reader import LakeReader
from livespan.collector.listening import Listen
from livespan.collector.log import Committer, FileLog, damage_facts, deliver_in, open_log
from livespan.collector.log.protocol import FrameRef
from livespan.collector.metrics.families import CollectorFamilies
from livespan.collector.metrics.timed_disk import TimedDisk
from livespan.collector.notices import Notices
from livespan.collector.otlp_receiver import Receiver
from livespan.collector.otlp_service import add_trace_service
from livespan.collector.ports import Ports
from livespan.collector.query.engine import QueryEngine, QueryLimits
from livespan.collector.query.runs import RunFilter, list_runs
from livespan.collector.query.service import add_query_service
from livespan.collector.readiness import reasons_not_ready
from livespan.collector.room import Room
from livespan.collector.seams import Seams
from livespan.collector.settings import CollectorSettings
from livespan.collector.threads import Threads
from livespan.proto.errors import Stop
from livespan.proto.home import Home
from livespan.proto.otlp import Request
from livespan.proto.record import Record, RecordKind

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from livespan.collector.forward.forwarder import Forwarder

__all__ = ["Collector"]

_LOOK_S: Final = 1.0
_FORWARD_END_S: Final = 3.0
_SPARES_KEPT: Final = 4
"""As many segments as a busy log goes through between two publications: what is removed must be made again, and with
two kept that was a tenth of all that a flood of 50 KB nodes cost the processor."""
_CUT: Final = (
    "A frame that is not whole ended the log: it was never acknowledged, or the disk damaged it; the two cannot be "
    "told apart."
)
_SERVICES: Final = "livespan.services"


class Collector:
    """One collector; `start`, `serve`, `close`, all on one loop.

    Args:
        home: which it serves alone.
        settings: what may be tuned.
        listen: where it is reached beside the home's own socket.
        forward: the user's own backend, which gets what was acknowledged.
        seams: for tests.
    """

    def __init__(
        self,
        home: Home,
        settings: CollectorSettings,
        listen: Listen | None = None,
        *,
        forward: ForwardTarget | None = None,
        seams: Seams | None = None,
    ) -> None:
        seams = seams or Seams()
        self.home = home
        self._settings = settings
        self._listen = listen or Listen()
        self._forward = forward
        self._clock = seams.clock
        self._disk = TimedDisk(seams.disk)
        self._faults = seams.faults
        self._protections = seams.protections
        self._log_protections = seams.log_protections
        self._notices = Notices("collector")
        self._lock = HomeLock(home)
        self._active_s = time.monotonic()
        self._opened: list[Callable[[], None]] = []
        self._context: Context
        self._ports: Ports

    @property
    def target(self) -> str:
        """gRPC target of the unix socket."""
        return self._ports.target

    @property
    def grpc_address(self) -> str:
        """Where gRPC is served over TCP, "" for nowhere."""
        return self._ports.grpc_address

    @property
    def http_address(self) -> str:
        """Where HTTP is served, "" for nowhere."""
        return self._ports.http_address

    async def start(self) -> None:
        """Open everything and listen.

        Raises:
            HomeHeld: another collector serves the home.
            Unavailable, Damaged: home, log or lake cannot be opened, or an address is taken.
        """
        self.home.create()
        self._lock.acquire()
        self._opened.append(self._lock.release)
        try:
            await self._start()
        except BaseException:
            self._close_opened()
            raise

    async def serve(self, leave: asyncio.Event) -> None:
        """Return when `leave` is set, or, where `idle_s` says so, when nobody has needed us for that long.

        Raises:
            Unavailable: the log's disk has failed. Only a new life can tell what is on it, so this one must end.
            HomeHeld: the home was taken away. Nothing may be closed that would write to the next one at its place.
        """
        while not leave.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(leave.wait(), _LOOK_S)
            if self._log.failure is not None:
                raise self._log.failure
            self._lock.check()
            self._lock.keep_announced()
            if self._is_idle():
                return

    async def close(self) -> bool:
        """Refuse new requests, publish what is there, and leave the home.

        Returns whether all is published. Where that is not so after `drain_s`, the disk is slow or hangs: a thread is
        still at it and holds what is open, so the process should end now. Nothing is lost: the log has it.
        """
        began_s = time.monotonic()
        self._notices.info("drain begun", unpublished_records=len(self._hot))
        self._lock.withdraw()
        try:
            finished = await self._wind_down()
        except BaseException:
            self._close_opened()
            raise
        self._notices.info(
            "drain ended", took_s=round(time.monotonic() - began_s, 3), unpublished_records=len(self._hot)
        )
        if finished:
            self._close_opened()
        return finished

    async def _wind_down(self) -> bool:
        """Publish while both ports still answer, with "later" to who would append, and close all; see `close`."""
        until_s = time.monotonic() + self._settings.drain_s
        self._intake.close()
        await self._ports.tell_ready(False)
        finished = await finishes_within(self._settings.drain_s, self._committer.close)
        if finished:
            await self._intake.settled()
            try:
                finished = await finishes_within(until_s - time.monotonic(), self._publisher.close)
            finally:
                await self._leave_ports()
        else:
            await self._leave_ports()
        return finished

    async def _leave_ports(self) -> None:
        for closing in reversed(self._context.closing):
            await closing()
        await self._ports.close()
        await self._receiver.close()
        if self._forwarder:
            await asyncio.to_thread(self._forwarder.close, _FORWARD_END_S)

    async def _start(self) -> None:
        socket = self._listen.socket or socket_path(self.home, self._listen.runtime_folder)
        self._open_storage(asyncio.get_running_loop())
        refused = self._intake.counts.refusals.unauthenticated
        self._ports = Ports(self._listen, socket, self._settings.max_message_bytes, refused)
        self._add_services()
        await asyncio.to_thread(lambda: self._publisher.recover(self._replayed()))
        self._publisher.start()
        if self._forwarder:
            self._forwarder.start()
        try:
            for starting in self._context.starting:
                await starting()
            await self._open_ports()
        except BaseException:
            await self._wind_down()
            raise

    def _open_storage(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open log and lake, and what stands between them and the services."""
        settings = self._settings
        log = open_log(
            self.home.log,
            segment_bytes=settings.segment_bytes,
            disk=self._disk,
            faults=self._faults,
            protections=self._log_protections,
            spares_kept=_SPARES_KEPT,
        )
        self._log: FileLog = log
        self._opened.append(log.close)
        for damage in log.report.damages:
            self._notices.error("segment damaged", **damage_facts(damage))
        for place in log.report.cut:
            path, _, offset = place.rpartition("@")
            self._notices.warning("log tail cut", path=path, offset=int(offset), hint=_CUT)
        self._hot = HotTier(settings.hot_bytes, settings.publish_records, faults=self._faults)
        self._reader = LakeReader()
        self._opened.append(self._reader.close)
        self._publisher = Publisher(
            self.home.lake,
            self._hot,
            log,
            str(log.uuid),
            self._reader,
            Publishing(
                settings.publish_s,
                settings.open_after_s,
                held=lambda trace: self._context.admission.held(trace),
                crowded=lambda: log.stats().segment_bytes > settings.log_bytes,
                recycle=lambda below: self._recycle(below, loop),
                clock=self._clock,
                disk=self._disk,
                faults=self._faults,
            ),
        )
        log.go_on_above(self._publisher.accounted)
        self._committer = Committer(log, deliver=deliver_in(loop), max_pending_bytes=settings.queue_bytes)
        self._opened.append(self._committer.close)
        self._forwarder: Forwarder | None = None
        if self._forward:
            # Imported here: the SDK costs a collector's start 35 ms, and most forward nothing.
            from livespan.collector.forward.forwarder import Forwarder

            self._forwarder = Forwarder.of(self._forward, self.home, log)
        forwarder = self._forwarder
        self._known_faults = KnownFaults(log, self._publisher, lambda: forwarder is not None and forwarder.is_failing)
        self._intake = Intake(self._committer, self._hot, self._forwarder.tee if self._forwarder else None)

    def _add_services(self) -> None:
        """Hang in what is served: our own services first, then those of higher layers."""
        settings, server = self._settings, self._ports.server
        limits = QueryLimits(settings.sql_memory_bytes, settings.sql_timeout_s, settings.sql_rows)
        engine = QueryEngine(self._publisher, limits)
        history = History(self._hot, self._reader, self._log)
        self._context = Context(
            home=self.home,
            settings=settings,
            clock=self._clock,
            protections=self._protections,
            faults=self._faults,
            target=self._ports.target,
            append=self._intake.append,
            append_here=self._intake.append_here,
            history=history,
            threads=Threads(history, self._hot, self._reader),
            list_runs=lambda project: list_runs(
                engine, lambda trace: self._context.admission.held(trace), RunFilter(project)
            ),
            indexed=self._intake.indexed,
            activity=self._touch,
            serves_http=bool(self._ports.http_address),
        )
        room = Room(settings.queue_bytes, self._intake.counts.refusals.no_room)
        self._receiver = Receiver(self._intake, room, self._touch)
        add_trace_service(server, self._receiver)
        query = add_query_service(
            server,
            engine,
            held=lambda trace: self._context.admission.held(trace),
            status=self._status,
            indexed=self._intake.indexed,
            activity=self._touch,
        )
        self._hot.on_new = query.tails.put
        self._context.closing.append(query.close)
        families = CollectorFamilies(
            room, self._committer, self._intake, self._hot, self._log, self._publisher, self._disk
        )
        self._context.metrics.add("collector", families)
        self._context.metrics.add("query", query.tails.families)
        self._context.metrics.add_measures(self.home)
        if self._context.serves_http:
            from livespan.collector.metrics.route import metrics_route

            self._context.routes.append(metrics_route(self._context.metrics))
        if self._forwarder:
            self._context.metrics.add("forward", self._forwarder.families)
        for point in sorted(entry_points(group=_SERVICES), key=lambda point: point.name):
            point.load()(server, self._context)

    def _replayed(self) -> Iterator[tuple[Sequence[Record], FrameRef, int]]:
        """Yield what the log holds, and tell recovery of the leases and lives in it."""
        for frame in self._log.frames(0):
            try:
                request = Request(frame.payload)
                records = request.records(frame.first_seq)
            except Exception:  # noqa: BLE001  # a border: a frame that cannot be understood must not keep the rest away
                self._intake.counts.unindexed_frames += 1
                continue
            if self._forwarder:
                self._forwarder.replay(request, len(frame.payload), frame.first_seq, frame.count)
            for record in records:
                if record.kind in (RecordKind.LEASE, RecordKind.ATTEMPT):
                    self._context.admission.replay(record)
            yield records, frame.ref, len(frame.payload)

    async def _open_ports(self) -> None:
        ports = self._ports
        await ports.open(self._routes)
        embedded = self._settings.idle_s > 0
        self._lock.announce(ports.target, ports.grpc_address, ports.http_address, embedded=embedded)
        await ports.tell_ready(True)
        self._notices.info(
            "serving",
            home=str(self.home.root),
            target=ports.target,
            grpc=ports.grpc_address,
            http=ports.http_url,
            version=version("livespan"),
        )

    def _routes(self) -> list[BaseRoute]:
        from livespan.collector.otlp_http import other_routes, trace_route
        from livespan.collector.probe_routes import probe_routes

        traces = trace_route(self._receiver, self._settings.max_message_bytes)
        probes = probe_routes(lambda: reasons_not_ready(self._intake, self._publisher))
        return [*probes, traces, *other_routes(), *self._context.routes]

    def _recycle(self, below: int, loop: asyncio.AbstractEventLoop) -> None:
        """Give log segments back; what must outlive them is said again first. Called by the publisher's thread."""
        upto = self._log.recyclable(below)
        if not upto or self._intake.closed:
            return  # at the end nothing can be said again: the next life lets these segments go
        for payload, admit in self._context.admission.snapshot(upto):
            saying = asyncio.run_coroutine_threadsafe(self._intake.append(payload, admit), loop)
            with suppress(Stop):  # it is over since
                saying.result(self._settings.drain_s)
            self._faults("lease.snapshot")
        self._log.recycle(upto)

    def _touch(self) -> None:
        self._active_s = time.monotonic()

    def _is_idle(self) -> bool:
        idle_s = self._settings.idle_s
        if not idle_s or any(busy() for busy in self._context.busy):
            return False
        return time.monotonic() - self._active_s > idle_s

    def _status(self) -> dict[str, object]:
        told: dict[str, object] = {
            "version": version("livespan"),
            "pid": os.getpid(),
            "wall_ns": self._clock.wall_ns(),
            "home": str(self.home.root),
            "target": self.target,
            "grpc": self.grpc_address,
            "http": self.http_address,
            "log_next_seq": self._log.next_seq,
            "acknowledged_records": self._intake.counts.acknowledged_records,
            "refused_requests": self._intake.counts.refused_requests,
            "unindexed_frames": self._intake.counts.unindexed_frames,
            "faults": [to_builtins(fault) for fault in self._known_faults.now()],
        }
        told.update({name: tell() for name, tell in self._context.status.items()})
        return told

    def _close_opened(self) -> None:
        while self._opened:
            self._opened.pop()()
