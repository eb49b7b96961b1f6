"""A home of its own for one measurement, on the disk that holds this repository; its collector and drain end with
it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import processes
from livespan.instrumentation.spool import list_writers
from livespan.proto.home import Home

__all__ = ["WORKING_FOLDER", "Stand", "stand"]

WORKING_FOLDER: Final = Path(__file__).resolve().parent.parent / ".make" / "bench"
_COLLECTOR: Final = "livespan.collector"
_DRAIN: Final = "livespan.instrumentation.drain_process"


@dataclass(frozen=True, slots=True)
class Stand:
    """One home; `run(..., home=stand.root)` starts its collector and drain."""

    root: Path

    @property
    def home(self) -> Home:
        return Home(self.root)

    @property
    def collector(self) -> int:
        """The collector's pid."""
        return _there(processes.find(self.root, _COLLECTOR), "collector")

    @property
    def drain(self) -> int:
        """The drain's pid."""
        return _there(processes.find(self.root, _DRAIN), "drain")

    def pending(self) -> bool:
        """Return whether some record is not acknowledged yet."""
        return any(
            next(folder.entries(folder.watermark()), None) is not None for folder in list_writers(self.home.spool)
        )

    def wait_acknowledged(self, timeout_s: float = 60.0) -> None:
        """Return once every record is acknowledged.

        Raises:
            TimeoutError: that took too long.
        """
        deadline = time.monotonic() + timeout_s
        while self.pending():
            if time.monotonic() > deadline:
                raise TimeoutError("the drain did not get through in time")
            time.sleep(0.004)

    def end_processes(self) -> None:
        """End drain and collector, if they run."""
        for module in (_DRAIN, _COLLECTOR):
            pid = processes.find(self.root, module)
            if pid is not None:
                processes.end(pid)


@contextmanager
def stand() -> Generator[Stand]:
    """Make a home, hand it out, end its processes and take it away."""
    WORKING_FOLDER.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="home-", dir=WORKING_FOLDER))
    made = Stand(root)
    try:
        yield made
    finally:
        made.end_processes()
        shutil.rmtree(root, ignore_errors=True)


def _there(pid: int | None, name: str) -> int:
    if pid is None:
        raise ProcessLookupError(f"the {name} of the home does not run")
    return pid
