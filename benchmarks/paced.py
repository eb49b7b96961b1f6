"""How long an acknowledgement takes at 1,000 nodes of 50 KB a second, and how long the disk takes for the same bytes.

The loop is open: five nodes are due every 5 ms, whatever became of those before them, and a request's time counts
from the moment that it was due. Nothing that made it late is left out: not the sender, not gRPC, not the publisher
that works beside it. The disk's own figure is as many bytes, written at the same pace into an already written file
and synced, before and after.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from benchmarks.disk import BareDisk
from benchmarks.figure import Figure
from benchmarks.percentiles import spread
from benchmarks.requests import requests
from benchmarks.sender import Sender, Sent
from benchmarks.stand import stand
from livespan.proto.rendezvous import ensure

__all__ = ["measure"]

_NODES_EACH: Final = 5
_PERIOD_S: Final = 0.005
_MS: Final = 1000
_DISK_WRITES: Final = 300
_DISK_BLOCKS: Final = 64
_PACE: Final = "1,000 nodes/s of 50 KB"


def measure(quick: bool) -> list[Figure]:
    """Return acknowledgement times at that pace, and the bare disk's."""
    count = int((4.0 if quick else 20.0) / _PERIOD_S)
    size_bytes = len(next(requests("size", _NODES_EACH, states=True)))
    with stand() as home:
        sender = Sender(ensure(home.home), "paced", _NODES_EACH, count, states=True, period_s=_PERIOD_S)
        disk_ms = _disk_ms(home.root / "disk", size_bytes)
        sent = sender.sent()
        disk_ms += _disk_ms(home.root / "disk", size_bytes)
    return _figures(sent, disk_ms, size_bytes)


def _disk_ms(path: Path, size_bytes: int) -> list[float]:
    disk = BareDisk(path, size_bytes, _DISK_BLOCKS)
    found: list[float] = []
    next_s = time.perf_counter()
    for _ in range(_DISK_WRITES):
        next_s += _PERIOD_S
        time.sleep(max(0.0, next_s - time.perf_counter()))
        found.append(disk.overwrite_s() * _MS)
    disk.close()
    return found


def _figures(sent: Sent, disk_ms: list[float], size_bytes: int) -> list[Figure]:
    told, disk = spread(sent.latencies_ms), spread(disk_ms)
    again = f"; {sent.refused} sent again, the hot tier was full" if sent.refused else ""
    return [
        Figure(
            group="paced",
            name=f"acknowledgement at {_PACE}, open loop, p99",
            value=told["p99"],
            unit="ms",
            floor=25,
            note=(
                f"p50 {told['p50']:.1f} ms, p90 {told['p90']:.1f} ms, {sent.nodes:,} nodes in "
                f"{len(sent.latencies_ms):,} requests over {sent.took_s:.1f} s{again}"
            ),
            detail=told,
        ),
        Figure(group="paced", name=f"acknowledgement at {_PACE}, open loop, p50", value=told["p50"], unit="ms"),
        Figure(
            group="paced",
            name=f"the bare disk: {size_bytes // 1024} KB overwritten, fdatasync, at that pace, p99",
            value=disk["p99"],
            unit="ms",
            note=f"p50 {disk['p50']:.2f} ms, {len(disk_ms)} writes before and after",
            detail=disk,
        ),
    ]
