"""How many nodes a second go all the way: from the agent's call to the acknowledgement behind the collector's
fdatasync.

The agent calls as fast as it can, in waves that fit into the spool, and the clock stops when the last record of the
last wave is acknowledged. Publication goes on beside it, as it does in real life.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import livespan.instrumentation as ls
from benchmarks import processes
from benchmarks.figure import Figure
from benchmarks.material import KB, state, texts
from benchmarks.stand import Stand, stand

__all__ = ["measure"]

_ANSWER = texts(1)[0]


@ls.step
def think(question: str) -> str:
    """Answer 1 KB with 1 KB."""
    return _ANSWER


def measure(quick: bool) -> list[Figure]:
    """Return sustained rates at 1 KB and 50 KB, and what drain and collector spend on a record."""
    waves = 1 if quick else 4
    with stand() as home:
        small = _flood(home, "small", waves, 10_000, b"")
        large = _flood(home, "large", waves, 2_500, state())
        peak = processes.peak_mb(home.collector)
    return [
        _rate(small, "1 KB in and out, two records a node", 6000, 10_000),
        _rate(large, "50 KB states: step and checkpoint, three records a node", 2000, 4000),
        *_spent(small, "1 KB"),
        *_spent(large, "50 KB"),
        Figure(group="sustained", name="the collector's largest resident size", value=peak, unit="MB"),
    ]


@dataclass(frozen=True, slots=True)
class _Flood:
    """What one flood took: wall time, the agent's share of it, and the processor time of drain and collector."""

    nodes: int
    records: int
    took_s: float
    agent_s: float
    drain_s: float
    collector_s: float


def _flood(home: Stand, run_id: str, waves: int, nodes: int, kept: bytes) -> _Flood:
    questions = texts(64, KB)
    agent_s = 0.0
    with ls.run(run_id, home=home.root):
        think("warm up")
        home.wait_acknowledged()
        drain, collector = home.drain, home.collector
        drain_s, collector_s = processes.used_s(drain), processes.used_s(collector)
        began_s = time.perf_counter()
        for _ in range(waves):
            wave_s = time.perf_counter()
            for number in range(nodes):
                think(questions[number & 63])
                if kept:
                    ls.checkpoint(kept)
            agent_s += time.perf_counter() - wave_s
            home.wait_acknowledged()
        took_s = time.perf_counter() - began_s
        drain_s, collector_s = processes.used_s(drain) - drain_s, processes.used_s(collector) - collector_s
    total = waves * nodes
    return _Flood(total, total * (3 if kept else 2), took_s, agent_s, drain_s, collector_s)


def _rate(flood: _Flood, what: str, floor: float, aim: float) -> Figure:
    return Figure(
        group="sustained",
        name=f"sustained, agent to acknowledged: {what}",
        value=flood.nodes / flood.took_s,
        unit="nodes/s",
        floor=floor,
        aim=aim,
        at_least=True,
        note=f"{flood.nodes:,} nodes in {flood.took_s:.1f} s",
        detail={"nodes": flood.nodes, "took_s": flood.took_s, "agent_s": flood.agent_s},
    )


def _spent(flood: _Flood, what: str) -> list[Figure]:
    return [
        Figure(
            group="sustained",
            name=f"processor time of the {name} for a record, {what}",
            value=spent_s / flood.records * 1e6,
            unit="us",
        )
        for name, spent_s in (("drain", flood.drain_s), ("collector (publication included)", flood.collector_s))
    ]
