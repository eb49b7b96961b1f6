"""How long a record takes to be acknowledged, at the pace of a busy agent: 200 nodes a second, watched from another
process.

How that is seen without touching the agent stands in watcher.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import livespan.instrumentation as ls
from benchmarks.figure import Figure
from benchmarks.material import texts
from benchmarks.percentiles import spread
from benchmarks.stand import stand

__all__ = ["measure"]

_PERIOD_S = 0.005
_ANSWER = texts(1)[0]


@ls.step
def think(question: str) -> str:
    """Answer 1 KB with 1 KB."""
    return _ANSWER


def measure(quick: bool) -> list[Figure]:
    """Return the time from a record's making to its acknowledgement."""
    questions = texts(64)
    with stand() as home, ls.run("paced", home=home.root):
        for _ in range(20):
            think("warm up")
        home.wait_acknowledged()
        watcher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watcher", str(home.home.spool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        watcher.stdout.readline()
        next_s = time.perf_counter()
        for number in range(400 if quick else 2000):
            think(questions[number & 63])
            next_s += _PERIOD_S
            time.sleep(max(0.0, next_s - time.perf_counter()))
        home.wait_acknowledged()
        time.sleep(0.01)
        watcher.stdin.close()
        latencies: list[float] = json.loads(watcher.stdout.read())
        watcher.wait(10)
        watcher.stdout.close()
    detail = spread(latencies)
    return [
        Figure(
            group="acknowledged",
            name="a node's end to its acknowledgement, 200 nodes/s, p50",
            value=detail["p50"],
            unit="ms",
            floor=10,
            aim=5,
            note=f"p90 {detail['p90']:.1f} ms, p99 {detail['p99']:.1f} ms over {len(latencies)} records",
            detail=detail,
        )
    ]
