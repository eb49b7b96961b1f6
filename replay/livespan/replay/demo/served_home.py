"""The demo's home and the processes that serve it: found by who they say they are, killed one by one, by their pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from livespan.collector.commands.stop import end_collector
from livespan.instrumentation.drain_process import drain_is_running
from livespan.proto.errors import Unavailable
from livespan.proto.home import Home
from livespan.proto.rendezvous import is_served, locate

__all__ = ["ServedHome"]

_DRAIN: Final = "livespan.instrumentation.drain_process"
_COLLECTOR: Final = "livespan.replay.demo.collector_process"
_LOOK_S: Final = 0.005
_LIMIT_S: Final = 20.0
_END_S: Final = 30.0


class ServedHome:
    """A home whose drain and collector can be replaced and killed.

    Args:
        environment: of what is started here.
    """

    def __init__(self, home: Home, environment: Mapping[str, str]) -> None:
        self.home = home
        self._environment = dict(environment)
        self._children: list[subprocess.Popen[bytes]] = []

    def freeze_drain(self) -> None:
        """See to it that the home's drain is there and is held up: what agents spool stays in the spool."""
        self.kill_drain()
        child = self._start(_DRAIN, "--home", str(self.home.root))
        _wait(lambda: drain_is_running(self.home), "the drain")
        os.kill(child.pid, signal.SIGSTOP)

    def kill_drain(self) -> None:
        """End the home's drain by SIGKILL, if one runs."""
        for pid in _pids(_DRAIN, self.home.root):
            _kill(pid)
        _wait(lambda: not drain_is_running(self.home), "the drain's end")
        self._reap()

    def kill_collector(self) -> None:
        """End the home's collector by SIGKILL."""
        address = locate(self.home)
        if address is not None:
            _kill(address.pid)
        _wait(lambda: not is_served(self.home), "the collector's end")
        self._reap()

    def delete_spool(self) -> None:
        """Delete the spool, as if the agent's host were another one."""
        shutil.rmtree(self.home.spool)

    def serve(self, lease_s: float, *, fencing: bool) -> None:
        """Have the home served by a collector with this lease instead of the one that serves it."""
        self.kill_drain()  # one that still has something to send would start a collector of its own
        self.stop_collector()
        more = [] if fencing else ["--no-fencing"]
        child = self._start(_COLLECTOR, "--home", str(self.home.root), "--lease-s", f"{lease_s:g}", *more)

        def up() -> bool:
            address = locate(self.home)
            return address is not None and address.pid == child.pid

        _wait(up, "the collector")

    def stop_collector(self) -> None:
        """End the home's collector, with everything published."""
        end_collector(self.home, _END_S)
        self._reap()

    def close(self) -> None:
        """Leave no process behind."""
        self.kill_drain()
        self.stop_collector()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home.root / "demo" / "processes.txt").open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
            )
        self._children.append(child)
        return child

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]


def _pids(module: str, root: Path) -> list[int]:
    """Return the processes that run this module for this home."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended meanwhile, or is another user's
        if module in words and str(root) in words:
            found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {_LIMIT_S:g} s for {what} in vain", subject="livespan demo")
        time.sleep(_LOOK_S)
