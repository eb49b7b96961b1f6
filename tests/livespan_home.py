"""A home of a test's own with a real collector: in a thread, to look inside, or as a process, to be killed.

    live.serve()             a collector on a loop in a thread of the test; `live.inside` is that loop and collector
    live.serve_process()     `livespan serve`; without either, the first `live.run()` starts an embedded one
    live.program(source)     a Python program as a process of its own, with this home as LIVESPAN_HOME

Only processes are ended that were started here, or whose command line names this home.
What this cannot show: a power cut.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import livespan.instrumentation as ls
from livespan.collector.context import Context
from livespan.collector.forward.target import ForwardTarget
from livespan.collector.listening import Guard, Listen
from livespan.collector.run_history import RunHistory
from livespan.collector.seams import Seams
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation import connection as ties
from livespan.instrumentation.run_block import IfFinished
from livespan.instrumentation.settings import Unreachable
from livespan.proto.errors import Stop
from livespan.proto.home import Home
from livespan.proto.process import start_time_ticks
from livespan.proto.record import Record
from livespan.proto.rendezvous import locate

__all__ = ["Died", "Inside", "LiveHome", "wait_until"]

ROOT = Path(__file__).parents[1]
_MODULES = {
    "collector": ("livespan.collector",),
    "drain": ("livespan.instrumentation.drain_process",),
}


class Died(Stop):
    """Raised in a tool's body: for the record it is as if the process had ended there, so the call stays open."""

    def __init__(self) -> None:
        super().__init__("died here")


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0, step_s: float = 0.005) -> None:
    """Return when the condition holds; fail where it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(step_s)


class Inside:
    """A collector on a loop of its own thread, from construction to `stop`.

    Args:
        home, settings, forward: the collector's.
        grpc_address, http_address, guard, runtime_folder: see Listen.
        seams: see Seams.
    """

    def __init__(
        self,
        home: Home,
        settings: CollectorSettings,
        *,
        grpc_address: str = "",
        http_address: str = "",
        guard: Guard | None = None,
        runtime_folder: Path | None = None,
        forward: ForwardTarget | None = None,
        **seams: Any,
    ) -> None:
        listen = Listen(grpc_address, http_address, guard or Guard(), runtime_folder=runtime_folder)
        self.loop = asyncio.new_event_loop()
        self.collector = Collector(home, settings, listen, forward=forward, seams=Seams(**seams))
        self._leave = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self.published: bool | None = None
        self._thread = threading.Thread(target=self._run, name="test-collector")
        self._thread.start()
        assert self._ready.wait(30)
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    @property
    def context(self) -> Context:
        """What the collector's services share."""
        return self.collector._context  # pyright: ignore[reportPrivateUsage]  # to look inside is what this is for

    @property
    def leases(self) -> list[dict[str, Any]]:
        """What the collector says of the leases that are held."""
        told: Any = self.collector._status()["leases"]  # pyright: ignore[reportPrivateUsage]  # as above
        return list(told)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def history(self, run_id: str, project: str = "default") -> RunHistory | None:
        """Return what is acknowledged of a run."""
        self.call(self.context.indexed())
        return self.context.history.run(project, run_id)

    def call(self, work: Any) -> Any:
        """Await something on the collector's loop."""

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(20)

    def leave(self) -> None:
        """Begin to end as SIGTERM does; `published` says how it went, once it has `ended`."""
        self.loop.call_soon_threadsafe(self._leave.set)

    def stop(self) -> None:
        """End it as SIGTERM does."""
        if self._thread.is_alive():
            self.leave()
            self._thread.join(30)
            assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _serve(self) -> None:
        try:
            await self.collector.start()
        except BaseException as error:
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        await self.collector.serve(self._leave)
        self.published = await self.collector.close()


class LiveHome:
    """See the module. Whoever makes it closes it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ls-"))
        self.home = Home(self.folder / "h")
        self.home.create()
        assert len(str(self.home.root)) < 80, "a unix socket must have room in the home"
        self.served: Inside | None = None
        self._processes: list[subprocess.Popen[str]] = []

    # Collectors.

    def serve(self, settings: CollectorSettings | None = None, **options: Any) -> Inside:
        """Start a collector in a thread; the options are those of Inside."""
        self.served = Inside(self.home, settings or CollectorSettings(publish_s=0.5), **options)
        return self.served

    @property
    def inside(self) -> Inside:
        assert self.served is not None
        return self.served

    def serve_process(self, *words: str) -> subprocess.Popen[str]:
        """Start `livespan serve` for this home and wait until it listens."""
        process = self.start("-m", "livespan.collector", "serve", "--home", str(self.home.root), *words)
        wait_until(lambda: process.poll() is not None or self._is_served_by(process.pid))
        return process

    def _is_served_by(self, pid: int) -> bool:
        address = locate(self.home)
        return address is not None and address.pid == pid

    # Programs.

    def run(
        self,
        run_id: str | None,
        *,
        session: str = "",
        tags: dict[str, str] | None = None,
        if_finished: IfFinished = "return",
        endpoint: str | None = None,
        on_unreachable: Unreachable | None = None,
    ) -> ls.Run:
        """Return a run of this home, to be opened in this process."""
        return ls.run(
            run_id,
            session=session,
            tags=tags,
            if_finished=if_finished,
            home=self.home.root,
            endpoint=endpoint,
            on_unreachable=on_unreachable,
        )

    def start(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a Python process with this home in its environment; its output is read by whoever waits for it."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("LIVESPAN_")}
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**own, "LIVESPAN_HOME": str(self.home.root), **(environment or {})},
        )
        self._processes.append(process)
        return process

    def program(self, source: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        process = self.start("-c", source, environment=environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    # Looking and killing.

    def records(self, run_id: str) -> list[Record]:
        """Return every record of a run that its calls have left: the newest and the first of each node."""
        history = self.inside.history(run_id)
        assert history is not None
        return [record for call in history.calls.values() for record in call if record is not None]

    def pids(self, role: str) -> list[int]:
        """Return the processes that play a role in this home: collector or drain."""
        found: list[int] = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                words = Path(entry.path, "cmdline").read_bytes().decode(errors="replace").split("\0")
                if str(self.home.root) in words and any(module in words for module in _MODULES[role]):
                    found.append(int(entry.name))
        return [pid for pid in found if start_time_ticks(pid)]

    def kill(self, *roles: str) -> None:
        """Send SIGKILL to the processes of these roles and wait for their deaths."""
        for pid in [pid for role in roles for pid in self.pids(role)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_until(partial(_is_dead, pid))
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def forget_connections(self) -> None:
        """Let go of what this test process holds of the home, as its end would."""
        for key in [key for key in ties._connections if key[0] == self.home.root]:  # pyright: ignore[reportPrivateUsage]  # a stale tie is taken off by hand
            found = ties._connections.pop(key)  # pyright: ignore[reportPrivateUsage]  # as above
            found.spool.close()
            if found._client is not None:  # pyright: ignore[reportPrivateUsage]  # as above
                found._client.close()  # pyright: ignore[reportPrivateUsage]  # as above

    def close(self) -> None:
        """End everything that runs on the home, and remove it."""
        self.forget_connections()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
            _close_pipes(process)
        self.kill("drain")
        if self.served is not None:
            self.served.stop()
        while self.pids("drain") or self.pids("collector"):
            self.kill("drain", "collector")
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_dead(pid: int) -> bool:
    """Return whether all threads of a process have ended: its first may have, and another still hold its locks."""
    if start_time_ticks(pid):
        return False
    try:
        return len(os.listdir(f"/proc/{pid}/task")) <= 1
    except FileNotFoundError:
        return True


def _close_pipes(process: subprocess.Popen[str]) -> None:
    pipes: Iterable[Any] = (process.stdin, process.stdout, process.stderr)
    for pipe in pipes:
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
