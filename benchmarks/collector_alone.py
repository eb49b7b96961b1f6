"""What a collector alone spends on a node: prepared OTLP/gRPC requests from another process, its processor time until
all of them are acknowledged behind fdatasync, indexed, and published as Parquet.

Counted is all that its process uses, threads, kernel and children included, from just before the first request until
the node table's watermark has passed the last record. Nothing is left out: the publisher works beside the
acknowledgements and goes on behind them, and the wait for its last publication (10 s at most) is counted, too. A first
flood, as long as the longest that is measured, is not: it is what gives a new log the segments that it writes over from
then on. The rate of the clock stands in the note alone: it says what else the machine had to do.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import processes
from benchmarks.figure import Figure
from benchmarks.sender import Sender
from benchmarks.stand import Stand, stand
from livespan.proto.rendezvous import ensure

__all__ = ["measure"]

_PUBLISHED_S: Final = 40.0
_SMALL_EACH: Final = 256
"""Nodes: 512 records, the most that a drain sends at once."""
_LARGE_EACH: Final = 56
"""Nodes: 3 MB, the same."""


def measure(quick: bool) -> list[Figure]:
    """Return nodes per second of processor time, for 1 KB and 50 KB."""
    with stand() as home:
        ensure(home.home)
        _, records = _measured(home, "first", _LARGE_EACH, 40 if quick else 120, states=True, before=0)
        small, records = _measured(home, "small", _SMALL_EACH, 40 if quick else 160, states=False, before=records)
        large, _ = _measured(home, "large", _LARGE_EACH, 40 if quick else 120, states=True, before=records)
    return [
        _figure("1 KB in and out, two records a node", small, 10_000, 20_000),
        _figure("50 KB states, three records a node", large, 3_000, 5_000),
    ]


class _Spent(msgspec.Struct, frozen=True):
    """What a flood took: wall time until acknowledged, processor time until then, and until all is published."""

    nodes: int
    megabytes: float
    took_s: float
    acknowledged_s: float
    published_s: float


def _measured(home: Stand, name: str, nodes_each: int, count: int, *, states: bool, before: int) -> tuple[_Spent, int]:
    """Flood the collector; return what it spent, and how many records it has got with the `before` ones."""
    sender = Sender(ensure(home.home), name, nodes_each, count, states=states)
    pid = home.collector
    began_s = processes.used_s(pid, children=True)
    sent = sender.sent()
    acknowledged_s = processes.used_s(pid, children=True) - began_s
    records = before + sent.records
    _wait_published(home.home.lake / "nodes" / "_delta_log", records)
    published_s = processes.used_s(pid, children=True) - began_s
    return _Spent(sent.nodes, sent.size_bytes / 1e6, sent.took_s, acknowledged_s, published_s), records


def _wait_published(table_log: Path, upto: int) -> None:
    """Return when the table's watermark has reached `upto`; a fresh log's records are numbered from 1.

    Raises:
        TimeoutError: that took too long.
    """
    deadline = time.monotonic() + _PUBLISHED_S
    while _watermark(table_log) < upto:
        if time.monotonic() > deadline:
            raise TimeoutError("the collector did not publish in time")
        time.sleep(0.1)


def _watermark(table_log: Path) -> int:
    """Return the newest application transaction of a Delta table's log, asked of its files: nothing of that is the
    collector's work.
    """
    for commit in sorted(table_log.glob("*.json"), reverse=True):
        for line in commit.read_bytes().splitlines():
            action = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            if "txn" in action:
                return msgspec.json.decode(action["txn"], type=_Transaction).version
    return 0


class _Transaction(msgspec.Struct, frozen=True):
    version: int


def _figure(what: str, spent: _Spent, floor: float, aim: float) -> Figure:
    return Figure(
        group="collector",
        name=f"collector alone, nodes per second of its processor time: {what}",
        value=spent.nodes / spent.published_s,
        unit="nodes/CPU-s",
        floor=floor,
        aim=aim,
        at_least=True,
        note=(
            f"publication included; {spent.nodes:,} nodes, {spent.megabytes:.0f} MB: {spent.published_s:.2f} CPU-s, "
            f"{spent.published_s - spent.acknowledged_s:.2f} of them after the last acknowledgement; "
            f"{spent.nodes / spent.took_s:,.0f} nodes/s by the clock"
        ),
        detail={
            "nodes": spent.nodes,
            "took_s": spent.took_s,
            "cpu_acknowledged_s": spent.acknowledged_s,
            "cpu_published_s": spent.published_s,
        },
    )
