"""How long a long run takes to be opened again: 10,000 nodes of 1 KB, in a process that opens it as a next life
would.

The life that recorded them leaves by an error, so the run is interrupted; then it is opened again and again, its
record warm in the page cache. Most of it is published by then, the rest is in the hot tier. Nothing of it is called
again, so that all of the time is the opening's.
"""

from __future__ import annotations

import time

import livespan.instrumentation as ls
from benchmarks.figure import Figure
from benchmarks.material import texts
from benchmarks.percentiles import percentile, spread
from benchmarks.stand import Stand, stand

__all__ = ["measure"]

_PUBLISHED_S = 13.0
"""A publication follows within 10 s; the bench waits until the collector has nothing left to publish."""
_ANSWER = texts(1, 512)[0]


class _Interrupted(Exception):
    """How each of these lives ends."""


@ls.step
def think(question: str) -> str:
    """Answer half a KB with half a KB."""
    return _ANSWER


def measure(quick: bool) -> list[Figure]:
    """Return how long opening takes, `run()` entered until its first line may run."""
    nodes = 2_000 if quick else 10_000
    questions = texts(64, 512)
    with stand() as home:
        try:
            with ls.run("long", home=home.root):
                for number in range(nodes):
                    think(questions[number & 63])
                raise _Interrupted
        except _Interrupted:
            home.wait_acknowledged()
        hot = [_open_s(home) for _ in range(7)]
        time.sleep(_PUBLISHED_S)
        first_s = _open_s(home)
        published = [_open_s(home) for _ in range(3)]
    note = f"{nodes:,} nodes" + (" (the floor is for 10,000)" if quick else "")
    return [
        Figure(
            group="opening",
            name="opening a 10,000-node run of 1 KB nodes right after it was recorded, hot, p50",
            value=percentile(hot, 0.5) * 1000,
            unit="ms",
            floor=150,
            note=f"{note}; {min(hot) * 1000:.0f} to {max(hot) * 1000:.0f} ms",
            detail=spread(hot, 1000),
        ),
        Figure(
            group="opening",
            name="the same once all of it is published, p50",
            value=percentile(published, 0.5) * 1000,
            unit="ms",
            note=f"{note}; the first time {first_s * 1000:.0f} ms",
            detail=spread(published, 1000) | {"first": first_s * 1000},
        ),
    ]


def _open_s(home: Stand) -> float:
    began_s = time.perf_counter()
    took_s = 0.0
    try:
        with ls.run("long", home=home.root):
            took_s = time.perf_counter() - began_s
            raise _Interrupted
    except _Interrupted:
        return took_s
