"""What asking before an effect costs, over a bare fdatasync: `Intend` from the question to its acknowledgement, and
the whole `@ls.tool` call around it with an empty body.

    round:  busy ─▶ fdatasync ─▶ busy ─▶ an empty gRPC call ─▶ busy ─▶ the effect

The pauses let the drain finish with the last effect's result, whose own fdatasync would stand in the way. The empty
call says how much of the rest is gRPC and the scheduler, which a loaded machine slows most.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import livespan.instrumentation as ls
from benchmarks.disk import BareDisk
from benchmarks.echo import Echo
from benchmarks.figure import Figure
from benchmarks.material import busy
from benchmarks.percentiles import spread
from benchmarks.stand import stand
from livespan.instrumentation.permission import Permission
from livespan.proto.span import WireSpan

__all__ = ["measure"]

_BUSY_S = 0.005
_WARM_UP = 30


@ls.tool
def charge(number: int) -> int:
    """An effect that does nothing, so that all of its time is ours."""
    return number


def measure(quick: bool) -> list[Figure]:
    """Return what an effect costs over the disk, and the two things that it stands on."""
    bare: list[float] = []
    empty: list[float] = []
    effects: list[float] = []
    asked: list[float] = []
    with stand() as home, ls.run("intend", home=home.root), ExitStack() as stack:
        disk = BareDisk(home.root / "bare-disk")
        stack.callback(disk.close)
        # A socket's path may have 107 bytes, so this one lies where paths are short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livespan-bench-"))
        echo = Echo(Path(folder) / "echo")
        stack.callback(echo.close)
        stack.enter_context(_timed_permission(asked))
        for number in range((200 if quick else 1000) + _WARM_UP):
            busy(_BUSY_S)
            synced_s = disk.overwrite_s()
            busy(_BUSY_S)
            called_s = echo.call_s()
            busy(_BUSY_S)
            began_s = time.perf_counter()
            charge(number)
            took_s = time.perf_counter() - began_s
            if number >= _WARM_UP:
                bare.append(synced_s)
                empty.append(called_s)
                effects.append(took_s)
    whole, synced, called = spread(effects, 1000), spread(bare, 1000), spread(empty, 1000)
    intend = spread(asked[_WARM_UP:], 1000)
    over_ms = intend["p50"] - synced["p50"]
    return [
        Figure(
            group="intend",
            name="`Intend`, asked and acknowledged, over a bare fdatasync, p50",
            value=over_ms,
            unit="ms",
            floor=0.6,
            note=f"{intend['p50']:.2f} ms p50, {intend['p99']:.2f} ms p99",
            detail=intend,
        ),
        Figure(
            group="intend",
            name="the whole call of an effect (key, `Intend`, result spooled) over a bare fdatasync, p50",
            value=whole["p50"] - synced["p50"],
            unit="ms",
            note=f"{whole['p50']:.2f} ms p50, {whole['p99']:.2f} ms p99",
            detail=whole,
        ),
        Figure(
            group="intend",
            name="bare fdatasync: 4 KB overwritten in a preallocated file, p50",
            value=synced["p50"],
            unit="ms",
            note=f"p90 {synced['p90']:.2f} ms, p99 {synced['p99']:.2f} ms",
            detail=synced,
        ),
        Figure(
            group="intend",
            name="an empty gRPC call to an asyncio server, unix socket, p50",
            value=called["p50"],
            unit="ms",
            note=f"p90 {called['p90']:.2f} ms, p99 {called['p99']:.2f} ms",
            detail=called,
        ),
    ]


@contextmanager
def _timed_permission(into: list[float]) -> Generator[None]:
    """Note how long each `Permission.ask` takes: collecting what must go along, sending it, waiting for the answer."""
    ask = Permission.ask

    def timed(self: Permission, started: WireSpan) -> bool:
        began_s = time.perf_counter()
        try:
            return ask(self, started)
        finally:
            into.append(time.perf_counter() - began_s)

    Permission.ask = timed  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        Permission.ask = ask  # type: ignore[method-assign]  # as it was
