"""LangGraph's threads, kept by LivespanSaver and by SqliteSaver: 200 turns that each add 1 KB to `messages`, a
checkpoint and a pending write a turn, turn by turn beside each other; what a put takes, and what all of it takes on the
disk.

Both sync to the disk before they return. Ours is counted as it is published, by a collector that was stopped. The texts
are hexadecimal digits drawn at random: no compression gets below half of them.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.figure import Figure
from benchmarks.percentiles import spread
from benchmarks.stand import stand
from livespan.instrumentation import LivespanSaver

__all__ = ["measure"]

_TURNS = 200
_TURN_BYTES = 1024
_WARM_UP = 10


def measure(quick: bool) -> list[Figure]:
    """Return what both take."""
    turns = _TURNS // 4 if quick else _TURNS
    with stand() as home, SqliteSaver.from_conn_string(str(home.root / "saver.db")) as sqlite:
        savers = {"ours": _Turns(LivespanSaver(home=home.root)), "sqlite": _Turns(sqlite)}
        for number in range(turns):
            for each in savers.values():
                each.turn(number)
        home.end_processes()
        published = sum([file.stat().st_size for file in home.home.lake.glob("*/*.parquet")])
        taken = _size(home.root / "saver.db")
    ours, peer = savers["ours"].times(), savers["sqlite"].times()
    return [
        Figure(
            group="saver",
            name=f"LangGraph, {turns} turns of +1 KB: published by LivespanSaver",
            value=published / 1e6,
            unit="MB",
            floor=1.0,
            note=f"SqliteSaver: {taken / 1e6:.1f} MB",
            detail={"sqlite_mb": taken / 1e6},
        ),
        Figure(
            group="saver",
            name="LivespanSaver, `put` of a checkpoint, acknowledged, p50",
            value=ours["put"]["p50"],
            unit="ms",
            note=f"p99 {ours['put']['p99']:.2f} ms; "
            f"SqliteSaver {peer['put']['p50']:.2f} and {peer['put']['p99']:.2f} ms",
            detail=ours["put"] | {f"sqlite_{name}": value for name, value in peer["put"].items()},
        ),
        Figure(
            group="saver",
            name="LivespanSaver, `put_writes`, acknowledged, p50",
            value=ours["writes"]["p50"],
            unit="ms",
            note=f"p99 {ours['writes']['p99']:.2f} ms; "
            f"SqliteSaver {peer['writes']['p50']:.2f} and {peer['writes']['p99']:.2f} ms",
            detail=ours["writes"] | {f"sqlite_{name}": value for name, value in peer["writes"].items()},
        ),
    ]


class _Turns:
    """A thread of one saver."""

    def __init__(self, saver: Any) -> None:
        self._saver = saver
        self._config: Any = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}
        self._source = random.Random(17)
        self._messages: list[HumanMessage] = []
        self._version: Any = None
        self._puts: list[float] = []
        self._writes: list[float] = []

    def turn(self, number: int) -> None:
        """Add a message: a pending write behind the last checkpoint, and the next one."""
        said = HumanMessage(self._source.randbytes(_TURN_BYTES // 2).hex(), id=str(number))
        if number:
            began_s = time.perf_counter()
            self._saver.put_writes(self._config, [("messages", [said])], f"task-{number}")
            self._writes.append(time.perf_counter() - began_s)
        self._messages = [*self._messages, said]
        self._version = self._saver.get_next_version(self._version, None)
        checkpoint: Any = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self._messages}
        checkpoint["channel_versions"] = versions = {"messages": self._version}
        metadata: Any = {"source": "loop", "step": number, "parents": {}}
        began_s = time.perf_counter()
        self._config = self._saver.put(self._config, checkpoint, metadata, versions)
        self._puts.append(time.perf_counter() - began_s)

    def times(self) -> dict[str, dict[str, float]]:
        """Return percentiles in milliseconds."""
        return {"put": spread(self._puts[_WARM_UP:], 1000), "writes": spread(self._writes[_WARM_UP:], 1000)}


def _size(database: Path) -> int:
    """Return what a SQLite database takes, its write-ahead log among it."""
    return sum([file.stat().st_size for file in database.parent.glob(f"{database.name}*")])
