"""The processes of a home, seen from outside: which they are, and what processor time they used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

__all__ = ["end", "find", "peak_mb", "used_s"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def find(home: Path, module: str) -> int | None:
    """Return the pid of the process that runs `python -m module` for a home; None where there is none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or it is somebody else's
        if module.encode() in words and str(home).encode() in words:
            return int(entry.name)
    return None


def used_s(pid: int, *, children: bool = False) -> float:
    """Return the processor seconds that a process has used, by its threads in user and kernel mode.

    Args:
        children: those of its children too, of the ended (that it waited for) and of the living.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = sum(map(int, fields[11 : 15 if children else 13])) / _TICKS
    return used + sum([used_s(child, children=True) for child in _children(pid)]) if children else used


def peak_mb(pid: int) -> float:
    """Return the most memory that a process had resident, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def end(pid: int, wait_s: float = 10.0) -> None:
    """Ask a process to end, wait for it, and kill it where it does not."""
    for number, patience_s in ((signal.SIGTERM, wait_s), (signal.SIGKILL, 2.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not _runs(pid):
                return
            time.sleep(0.01)


def _children(pid: int) -> list[int]:
    """Return the living children; every thread has its own."""
    return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
