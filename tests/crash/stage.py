"""One home and the processes on it: started, found, killed by SIGKILL, started again.

    folder/home/        the home
    folder/pauses/      see pausing.py
    folder/*.witness    what programs say they saw          folder/*.ledger     what effects did
    folder/*.err        what processes print

Only processes are killed that this stage started, or whose command line names its home.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.pausing import PauseRequest

from livespan.instrumentation.drain_process import drain_is_running
from livespan.instrumentation.spool import list_writers
from livespan.proto.errors import Damaged, LivespanError, NotFound
from livespan.proto.home import Home
from livespan.proto.rendezvous import locate
from livespan.proto.rpc import open_channel
from livespan.proto.v1.livespan_pb2 import ResolveRequest, RunRef, SqlRequest
from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub

__all__ = ["ROOT", "Agent", "CollectorShape", "Stage", "TrialError", "wait_until"]

ROOT = Path(__file__).parents[2]


class TrialError(AssertionError):
    """What a kill must not do has happened."""


@dataclass(frozen=True, slots=True)
class CollectorShape:
    """How the collectors of a stage are started."""

    segment_bytes: int = 1 << 20
    publish_s: float = 0.2
    lease_s: float = 15.0
    without: str = ""
    trouble: str = ""
    """What the machine does to it: see serve.py."""
    alone: bool = False
    """Agents are told where it is, so that they wait for it and start none of their own."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A running program."""

    run: str
    process: subprocess.Popen[bytes]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None


def wait_until(condition: Callable[[], bool], timeout_s: float, step_s: float = 0.002) -> bool:
    """Return whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


_SMALL_SEGMENT: Final = 64 << 10


class Stage:
    """See the module. `close` ends everything that is left on the home.

    Attributes:
        collectors_killed: how many kills took a collector: after one, a program that is opening its run may
            have to be started again.
        refuses: the machine is bad: programs are refused now and then, and are started again.
    """

    def __init__(self, folder: Path, shape: CollectorShape | None = None) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.pauses = folder / "pauses"
        self.shape = shape or CollectorShape()
        self.collectors_killed = 0
        self.refuses = False
        self._unsupervised = threading.Event()
        self._environment: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self.pauses.mkdir(parents=True, exist_ok=True)
        self.home.create()

    # Starting.

    def start_collector(self) -> None:
        """Start a collector; agents find it by the home."""
        shape = self.shape
        words = ["--home", str(self.home.root), "--pauses", str(self.pauses), "--without", shape.without]
        words += ["--segment-bytes", str(shape.segment_bytes), "--publish-s", str(shape.publish_s)]
        words += ["--lease-s", str(shape.lease_s), "--trouble", shape.trouble]
        self.launch(
            "tests.crash.serve",
            "collector",
            words,
        )

    def supervise(self) -> None:
        """From here on do what an operator's supervisor does: start a collector again that has left."""
        self.refuses = True

        def look() -> None:
            while not self._unsupervised.wait(0.1):
                if not self.pids("collector"):
                    self.start_collector()

        threading.Thread(target=look, daemon=True).start()

    def start_drain(self) -> None:
        """Start a drain; on a log of small segments one that sends small requests."""
        eager = ["--eager"] if self.shape.segment_bytes <= _SMALL_SEGMENT else []
        self.launch("tests.crash.drain", "drain", ["--home", str(self.home.root), "--pauses", str(self.pauses), *eager])

    def start_all(self) -> None:
        """Start collector and drain, and wait for the collector."""
        self.start_collector()
        self.start_drain()
        target = self.wait_for_collector()
        if self.shape.alone:
            self._environment["LIVESPAN_ENDPOINT"] = target

    def start_agent(self, run: str, shape: str, seed: int, *, without: str = "") -> Agent:
        """Start the program, in a session of its own, so that its forks can be killed with it."""
        words = ["--home", str(self.home.root), "--run", run, "--shape", shape, "--seed", str(seed)]
        words += ["--folder", str(self.folder), "--without", without]
        return Agent(run, self.launch("tests.crash.program", run, words))

    def wait_for_collector(self) -> str:
        """Return the collector's target once it serves."""
        if not wait_until(lambda: locate(self.home) is not None, 20):
            raise TrialError(f"no collector came up: {self.said('collector')}")
        address = locate(self.home)
        assert address is not None
        return address.target

    # Killing.

    def kill(self, roles: Iterable[str], agents: Iterable[Agent]) -> set[str]:
        """Send SIGKILL to every process of these roles at once, wait for the deaths, return the roles that had any."""
        wanted = set(roles)
        victims: dict[int, str] = {}
        self.collectors_killed += "collector" in wanted
        for role in wanted - {"agent"}:
            victims.update(dict.fromkeys(self.pids(role), role))
        groups = [agent for agent in agents if "agent" in wanted and not agent.ended]
        for agent in groups:
            os.killpg(agent.process.pid, signal.SIGKILL)
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for agent in groups:
            agent.process.wait()
        for process in self._started:
            if process.pid in victims:
                process.wait()
        if not wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in victims), 10):
            raise TrialError("a killed process lives on")
        return set(victims.values()) | ({"agent"} if groups else set())

    def pids(self, role: str) -> list[int]:
        """Return the processes of this home that play `role`: collector or drain."""
        modules = {
            "collector": ("livespan.collector", "tests.crash.serve", "tests.torture.flips_serve"),
            "drain": ("livespan.instrumentation.drain_process", "tests.crash.drain"),
        }[role]
        found: list[int] = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                words = Path(entry.path, "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if str(self.home.root) in words and any(module in words for module in modules):
                found.append(int(entry.name))
        return found

    def pause(self, role: str, step: str, nth: int) -> PauseRequest:
        """Ask a process to stand still at a step; `role` is collector, drain or agent-RUN."""
        return PauseRequest(self.pauses, role, step, nth)

    # Looking, settling, ending.

    def damaged_records(self) -> list[str]:
        """Return what cannot be read of the spool; a record that was appended, or begun, is whole or not there."""
        found: list[str] = []
        for folder in list_writers(self.home.spool):
            try:
                for _ in folder.entries(folder.watermark()):
                    pass
            except NotFound:
                continue
            except Damaged as damage:
                found.append(str(damage))
            finally:
                folder.close()
        return found

    def resolve(self, run: str, node: str, output: bytes | None) -> None:
        """Settle doubt as a person would: `output` is what the effect returned, None where it was not done."""
        deadline = time.monotonic() + 20
        while True:
            try:
                with open_channel(self.wait_for_collector()) as channel:
                    RecoveryStub(channel).Resolve(
                        ResolveRequest(
                            run=RunRef(project="default", run_id=run),
                            node_id=node,
                            done=output is not None,
                            output=output or b"",
                            by="trial",
                        ),
                        timeout=5,
                    )
                return
            except Exception as error:
                if time.monotonic() > deadline:
                    raise TrialError(f"{run}/{node} cannot be resolved: {error}") from error
                time.sleep(0.05)

    def nodes(self, run: str) -> set[str]:
        """Return the ids of the nodes of which the collector has acknowledged something."""
        with open_channel(self.wait_for_collector()) as channel:
            replies = QueryStub(channel).Sql(
                SqlRequest(sql=f"SELECT node_id FROM nodes WHERE run_id = '{run}'"), timeout=20
            )
            return {str(row[0]) for reply in replies for row in json.loads(reply.rows or b"[]")}

    def drain_to_the_end(self) -> None:
        """Wait until everything in the spool is acknowledged."""
        if not drain_is_running(self.home):
            self.start_drain()
        if not wait_until(lambda: not self.unsent(), 20, 0.02):
            raise TrialError(f"the drain leaves records unsent: {self.unsent()}; {self.said('drain')}")

    def stop_collector(self) -> None:
        """End the collector by SIGTERM: it publishes what it has."""
        self._unsupervised.set()
        for pid in self.pids("collector"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in self._started:
            if "tests.crash.serve" in process.args:  # type: ignore[operator]  # a list of ours
                process.wait(timeout=40)
        if not wait_until(lambda: not self.pids("collector"), 40):
            raise TrialError("the collector does not leave")

    def close(self) -> None:
        """Kill what is left."""
        self._unsupervised.set()
        for process in self._started:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.kill(("collector", "drain"), ())

    def said(self, name: str) -> str:
        """Return the end of what a process printed."""
        try:
            return (self.folder / f"{name}.err").read_text(errors="replace")[-1500:]
        except FileNotFoundError:
            return ""

    def unsent(self) -> list[str]:
        """Return the writers that have something which is not acknowledged."""
        found: list[str] = []
        for folder in list_writers(self.home.spool):
            try:
                if next(folder.entries(folder.watermark()), None) is not None:
                    found.append(folder.path.name)
            except LivespanError:
                continue
            finally:
                folder.close()
        return found

    def launch(self, module: str, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        """Start `python -m MODULE WORDS`; what it prints goes to NAME.err."""
        with (self.folder / f"{name}.err").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **self._environment},
            )
        self._started.append(process)
        return process
