"""What the figures were measured on: processor, kernel, disk, versions, and which commit."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from livespan.proto.home import file_system

__all__ = ["commit", "describe", "load", "loop_ms"]

_PACKAGES: Final = (
    "livespan",
    "opentelemetry-sdk",
    "grpcio",
    "protobuf",
    "msgspec",
    "duckdb",
    "pyarrow",
    "deltalake",
    "langgraph-checkpoint-sqlite",
)
_NOT_CODE: Final = (":(top,exclude)benchmarks/results", ":(top,exclude)tests/torture/results")
"""A run writes its own results there."""


def describe(folder: Path) -> dict[str, str]:
    """Return the machine in words; `folder` lies on the disk that is measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(folder),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "file system": file_system(folder),
        "disk": _disk(folder),
        "versions": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def load() -> str:
    """Return how busy the machine is: the load averages of 1 and 5 minutes."""
    one, five, _ = os.getloadavg()
    return f"{one:.2f}, {five:.2f}"


def loop_ms() -> float:
    """Return how long this machine takes at this moment for a fixed loop of Python, median of five.

    A shared processor is half as fast in one hour as in another, and every figure in microseconds goes with it.
    """
    return statistics.median([_loop_ms() for _ in range(5)])


def commit(folder: Path) -> str:
    """Return the commit, with a mark where the tree differs from it; "" outside of a repository."""
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *_NOT_CODE)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head} and changes" if changed else head


def _loop_ms() -> float:
    began_s = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number * number % 7
    return (time.perf_counter() - began_s) * 1000


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _disk(folder: Path) -> str:
    """Return the block device below a folder, and whether it turns."""
    device = folder.stat().st_dev
    link = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not link.exists():
        return "not a block device"
    block = link.resolve()
    queue = block / "queue" if (block / "queue").exists() else block.parent / "queue"
    try:
        turning = (queue / "rotational").read_text().strip() == "1"
        cache = (queue / "write_cache").read_text().strip()
    except OSError:
        return block.name
    return f"{block.name}, {'rotational' if turning else 'not rotational'} as it says, {cache}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
