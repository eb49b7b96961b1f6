"""The collector of one home: opens what is on disk, serves, publishes, leaves. The parts live in their own files;
here they meet.

start   lock the home ─▶ log ─▶ lake ─▶ services register ─▶ replay the log ─▶ publisher ─▶ listen ─▶ announce
end     withdraw the address ─▶ refuse with UNAVAILABLE ─▶ services ─▶ committer ─▶ publish ─▶ log ─▶ unlock
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from livespan.collector.context import Context, Protections
from livespan.collector.disk import Disk, SystemDisk
from livespan.collector.health import Health
from livespan.collector.history import History
from livespan.collector.home_lock import HomeLock, make_way, socket_path
from livespan.collector.hot import HotTier
from livespan.collector.intake import Intake
from livespan.collector.lake.publisher import Publisher
from livespan.collector.lake.reader import LakeReader
from livespan.collector.log import Committer, FileLog, LogProtections, deliver_in, open_log
from livespan.collector.log.protocol import Faults, FrameRef, no_faults
from livespan.collector.otlp_service import add_trace_service
from livespan.collector.query.engine import QueryEngine, QueryLimits
from livespan.collector.query.service import add_query_service
from livespan.collector.settings import CollectorSettings
from livespan.proto.clock import Clock, SystemClock
from livespan.proto.errors import InvalidInput, Stop, Unavailable
from livespan.proto.home import Home
from livespan.proto.otlp import Request
from livespan.proto.record import Record, RecordKind

__all__ = ["Collector"]

_LOOK_S: Final = 1.0
_SERVICES: Final = "livespan.services"
_LOOPBACK: Final = ("127.0.0.1:", "localhost:", "[::1]:")


class Collector:
    """One collector; `start`, `serve`, `close`, all on one loop.

    Args:
        home: which it serves alone.
        settings: what may be tuned.
        grpc_address: host:port to listen on beside the unix socket, "" for nowhere.
        socket: the unix socket's path; None: the home's own.
        runtime_folder: `$XDG_RUNTIME_DIR` where it is set, for a home whose path is too long for a socket.
        clock, disk, faults, protections, log_protections: seams for tests.
    """

    def __init__(
        self,
        home: Home,
        settings: CollectorSettings,
        *,
        grpc_address: str = "",
        socket: Path | None = None,
        runtime_folder: Path | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
        faults: Faults = no_faults,
        protections: Protections | None = None,
        log_protections: LogProtections | None = None,
    ) -> None:
        if grpc_address and not grpc_address.startswith(_LOOPBACK):
            raise InvalidInput(
                "only loopback addresses can be served: there is no TLS yet",
                subject=grpc_address,
                hint="Use --grpc 127.0.0.1:4317, or a unix socket on a shared volume.",
            )
        self.home = home
        self.target = ""
        self.grpc_address = grpc_address
        self._settings = settings
        self._socket = socket
        self._runtime_folder = runtime_folder
        self._clock = clock or SystemClock()
        self._disk = disk or SystemDisk()
        self._faults = faults
        self._protections = protections or Protections()
        self._log_protections = log_protections or LogProtections()
        self._lock = HomeLock(home)
        self._active_s = time.monotonic()
        self._opened: list[Callable[[], None]] = []
        self._context: Context

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
        """Return when `leave` is set, or, where `idle_s` says so, when nobody has needed us for that long."""
        while not leave.is_set():
            try:
                await asyncio.wait_for(leave.wait(), _LOOK_S)
            except TimeoutError:
                if self._is_idle():
                    return

    async def close(self) -> None:
        """Refuse new requests, publish what is there, and leave the home. Bounded by `drain_s`."""
        self._lock.withdraw()
        try:
            await self._wind_down()
        finally:
            self._close_opened()

    async def _wind_down(self) -> None:
        self._intake.close()
        await self._health.serving(False)
        for closing in reversed(self._context.closing):
            await closing()
        await self._server.stop(1.0)
        await asyncio.to_thread(self._committer.close)
        await self._intake.settled()
        await asyncio.to_thread(self._publisher.close)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        log = open_log(
            self.home.log,
            segment_bytes=settings.segment_bytes,
            disk=self._disk,
            faults=self._faults,
            protections=self._log_protections,
        )
        self._log: FileLog = log
        self._opened.append(log.close)
        self._hot = HotTier(settings.hot_bytes, settings.publish_records)
        reader = LakeReader()
        self._opened.append(reader.close)
        self._publisher = Publisher(
            self.home.lake,
            self._hot,
            log,
            str(log.uuid),
            reader,
            clock=self._clock,
            held=lambda trace: self._context.admission.held(trace),
            recycle=lambda below: self._recycle(below, loop),
            publish_s=settings.publish_s,
            open_after_s=settings.open_after_s,
            disk=self._disk,
            faults=self._faults,
        )
        self._committer = Committer(log, deliver=deliver_in(loop), max_pending_bytes=settings.queue_bytes)
        self._opened.append(self._committer.close)
        self._intake = Intake(self._committer, self._hot)
        self._server = _grpc_server(settings.max_message_bytes)
        self._socket = self._socket or socket_path(self.home, self._runtime_folder)
        self._context = Context(
            home=self.home,
            settings=settings,
            clock=self._clock,
            protections=self._protections,
            target=f"unix:{self._socket}",
            append=self._intake.append,
            append_here=self._intake.append_here,
            history=History(self._hot, reader, log),
            indexed=self._intake.indexed,
            activity=self._touch,
        )
        add_trace_service(self._server, self._intake, self._touch)
        query = add_query_service(
            self._server,
            QueryEngine(
                self._publisher, QueryLimits(settings.sql_memory_bytes, settings.sql_timeout_s, settings.sql_rows)
            ),
            held=lambda trace: self._context.admission.held(trace),
            status=self._status,
            indexed=self._intake.indexed,
            activity=self._touch,
        )
        self._context.closing.append(query.close)
        self._health = Health(self._server)
        for point in sorted(entry_points(group=_SERVICES), key=lambda point: point.name):
            point.load()(self._server, self._context)
        await asyncio.to_thread(self._replay)
        self._publisher.start()
        try:
            for starting in self._context.starting:
                await starting()
            await self._listen(self._socket)
        except BaseException:
            await self._wind_down()
            raise

    def _replay(self) -> None:
        """Bring back what the log holds and the lake does not, and tell recovery of leases and lives."""
        self._publisher.recover(self._replayed())

    def _replayed(self) -> Iterator[tuple[Sequence[Record], FrameRef, int]]:
        for frame in self._log.frames(0):
            try:
                records = Request(frame.payload).records(frame.first_seq)
            except Exception:  # noqa: BLE001  # a border: a frame that cannot be understood must not keep the rest away
                self._intake.counts.unindexed_frames += 1
                continue
            for record in records:
                if record.kind in (RecordKind.LEASE, RecordKind.ATTEMPT):
                    self._context.admission.replay(record)
            yield records, frame.ref, len(frame.payload)

    async def _listen(self, path: Path) -> None:
        make_way(path)
        target = f"unix:{path}"
        try:
            self._server.add_insecure_port(target)
            if self.grpc_address:
                host = self.grpc_address.rpartition(":")[0]
                self.grpc_address = f"{host}:{self._server.add_insecure_port(self.grpc_address)}"
        except RuntimeError as error:
            raise Unavailable(
                "the address cannot be listened on",
                subject=self.grpc_address or target,
                hint="Is another program there?",
            ) from error
        await self._server.start()
        os.chmod(path, 0o600)
        self.target = target
        self._lock.announce(target, self.grpc_address)
        await self._health.serving(True)

    def _recycle(self, below: int, loop: asyncio.AbstractEventLoop) -> None:
        """Give log segments back; what must outlive them is said again first. Called by the publisher's thread."""
        upto = self._log.recyclable(below)
        if not upto or self._intake.closed:
            return  # at the end nothing can be said again: the next life lets these segments go
        for payload, admit in self._context.admission.snapshot(upto):
            saying = asyncio.run_coroutine_threadsafe(self._intake.append(payload, admit), loop)
            with suppress(Stop):  # it is over since
                saying.result(self._settings.drain_s)
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
            "home": str(self.home.root),
            "target": self.target,
            "grpc": self.grpc_address,
            "log_next_seq": self._log.next_seq,
            "acknowledged_records": self._intake.counts.acknowledged_records,
            "refused_requests": self._intake.counts.refused_requests,
            "unindexed_frames": self._intake.counts.unindexed_frames,
        }
        told.update({name: tell() for name, tell in self._context.status.items()})
        return told

    def _close_opened(self) -> None:
        while self._opened:
            self._opened.pop()()


def _grpc_server(max_message_bytes: int) -> grpc.aio.Server:
    untyped: Any = grpc.aio  # its stub leaves the interceptors' types open
    server: grpc.aio.Server = untyped.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),  # a run of 100,000 nodes is 80 MB of JSON
            ("grpc.so_reuseport", 0),
        ]
    )
    return server
