"""One life of an agent as its parent sees it: a process that is started, waited for, killed, frozen, let go."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from livespan.proto.errors import Unavailable
from livespan.replay.demo.agent_process import OUTCOME
from livespan.replay.demo.job import Job, Outcome
from livespan.replay.demo.points import Points

__all__ = ["Life"]

_LOOK_S: Final = 0.005
_END_S: Final = 60.0


class Life:
    """A running agent.

    Args:
        module: the agent's. job: what it is told. environment: its own.
    """

    def __init__(self, module: str, job: Job, environment: Mapping[str, str]) -> None:
        self._folder = job.folder
        self._points = Points(job.folder, job.hold_at)
        self._started_s = time.monotonic()
        self.took_ms = 0.0
        with (job.folder / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *job.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
            )

    def wait_held(self) -> bool:
        """Wait until it is held at its point; return False where it ended before."""
        deadline = time.monotonic() + _END_S
        while not self._points.is_reached():
            if self._process.poll() is not None or time.monotonic() > deadline:
                return self._points.is_reached()
            time.sleep(_LOOK_S)
        return True

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is, threads and all."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a frozen life go on, past its point."""
        self._points.let_go()
        self._process.send_signal(signal.SIGCONT)

    def outcome(self) -> Outcome:
        """Wait for its end and return what it reports; `took_ms` is then known.

        Raises:
            Unavailable: it does not end, or ends without a report.
        """
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Unavailable(f"the agent did not end in {_END_S:g} s", subject=str(self._folder)) from None
        self.took_ms = (time.monotonic() - self._started_s) * 1000
        try:
            return msgspec.json.decode((self._folder / OUTCOME).read_bytes(), type=Outcome)
        except FileNotFoundError:
            raise Unavailable(
                f"the agent ended with {self._process.returncode} and without a report: {_last_line(self._folder)}",
                subject=str(self._folder),
            ) from None


def _last_line(folder: Path) -> str:
    lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
