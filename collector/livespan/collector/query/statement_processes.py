"""The processes in which users' statements run, as the collector has them: started when one is needed, kept for the
next statement, ended when none has come for a while, when a statement is to end, or with the collector.

    start ─▶ Ready ─▶ taken: asked, rows ─▶ put back ─▶ Ready ─▶ taken ...
                        └─ kill: too long, cancelled, not read to its end        idle ─▶ retire
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from livespan.collector.arrow import ArrowTable, stream_descriptor
from livespan.collector.query.exchange import Ask, Frame, Message, Over, Ready, receive, send
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.snapshots import Lake, Snapshot
from livespan.proto.errors import Unavailable

__all__ = ["StatementProcess", "StatementProcesses"]

_MODULE: Final = "livespan.collector.query.statement_process"
_START_S: Final = 30.0
_SEND_S: Final = 10.0
_END_S: Final = 5.0
_ENVIRONMENT: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve a gigabyte, which the limit would have to leave open
    "ARROW_IO_THREADS": "2",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "2",
}


class StatementProcess:
    """One process. One thread asks and receives; any thread may kill it. Who made it calls `end`."""

    def __init__(self, limits: QueryLimits, folders: Sequence[Path]) -> None:
        ours, its = socket.socketpair()
        try:
            with its:
                command = [sys.executable, "-P", "-m", _MODULE, str(limits.memory_bytes), str(limits.threads)]
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [*command, *[str(folder.absolute()) for folder in folders]],
                    cwd="/",
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **_ENVIRONMENT},
                )
        except BaseException:
            ours.close()
            raise
        self.idle_since_s = time.monotonic()
        self._socket = ours
        self._is_ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        pid: int = self._process.pid
        return pid

    def is_ready(self) -> bool:
        """Wait until it takes a statement; False where it has ended instead."""
        try:
            self._is_ready = self._is_ready or isinstance(self.receive(_START_S).message, Ready)
        except (EOFError, OSError, ValueError):
            return False
        return self._is_ready and self._process.poll() is None

    def ask(self, sql: str) -> None:
        """Have it look at a statement; `Wanted` is received, or a refusal.

        Raises:
            OSError: it has ended.
        """
        self._is_ready = False
        self.send(Ask(sql))

    def run(self, snapshot: Snapshot, hot: ArrowTable) -> None:
        """Have it run the statement over a snapshot, whose unpublished rows are `hot`; what comes of it is received.

        Raises:
            OSError: it has ended.
        """
        rows = stream_descriptor(hot)
        try:
            touched = list(snapshot.touched) if snapshot.touched is not None else None
            nodes, content = ([str(path.absolute()) for path in files] for files in (snapshot.nodes, snapshot.content))
            self.send(Over(nodes, content, touched), rows)
        finally:
            os.close(rows)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send it a message; raises as exchange.send."""
        self._socket.settimeout(_SEND_S)
        send(self._socket, message, descriptor=descriptor)

    def receive(self, timeout_s: float) -> Frame:
        """Return its next message; raises as exchange.receive."""
        self._socket.settimeout(max(timeout_s, 0.001))
        return receive(self._socket)

    def kill(self) -> None:
        """End what it does, at once; `end` is still to be called."""
        self._process.kill()

    def end(self) -> str:
        """End it, and return how it ended: a signal's name or its exit status."""
        self._process.kill()
        self._socket.close()
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "not at all: a disk holds it"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


class StatementProcesses:
    """Processes under the same limits, which open no files but the lake's. Thread-safe; closed by who made it."""

    def __init__(self, limits: QueryLimits, lake: Lake) -> None:
        self._limits = limits
        self._lake = lake
        self._lock = threading.Lock()
        self._idle: list[StatementProcess] = []
        self._all: set[StatementProcess] = set()
        # The kernel ends a process with the thread that started it, so that is one that stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="livespan-sql-start")
        self._finalizer = weakref.finalize(self, _end_all, self._all, self._starter)

    def take(self) -> StatementProcess:
        """Return a process that waits for a statement: the one used last, else a new one.

        Raises:
            Unavailable: none can be started.
        """
        while (process := self._pop()) is not None:
            if process.is_ready():
                return process
            self.drop(process)
        try:
            process = self._starter.submit(StatementProcess, self._limits, self._lake.folders).result()
        except (OSError, RuntimeError) as error:
            raise _no_process(str(error)) from error
        self._all.add(process)
        if process.is_ready():
            return process
        raise _no_process(self.drop(process))

    def put_back(self, process: StatementProcess) -> None:
        """Keep a process, whose answer was read to its end, for another statement."""
        process.idle_since_s = time.monotonic()
        with self._lock:
            self._idle.append(process)

    def drop(self, process: StatementProcess) -> str:
        """End a process, and return how it ended."""
        self._all.discard(process)
        return process.end()

    def retire(self, idle_s: float) -> None:
        """End what has had nothing to do for this long."""
        before_s = time.monotonic() - idle_s
        with self._lock:
            leaving = [process for process in self._idle if process.idle_since_s <= before_s]
            self._idle = [process for process in self._idle if process not in leaving]
        for process in leaving:
            self.drop(process)

    def close(self) -> None:
        """End all of them."""
        self._finalizer()

    def _pop(self) -> StatementProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None


def _end_all(processes: set[StatementProcess], starter: ThreadPoolExecutor) -> None:
    for process in list(processes):
        process.end()
    processes.clear()
    starter.shutdown()


def _no_process(reason: str) -> Unavailable:
    return Unavailable(
        f"the process that would run the query could not be started: {reason}",
        subject="sql",
        hint="Is there memory for one more process? `livespan doctor` looks at the machine; else try again.",
    )
