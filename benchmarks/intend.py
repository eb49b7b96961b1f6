"""What asking before an effect costs: a whole `@ls.tool` call with an empty body, over a bare fdatasync, one after the other."""

from __future__ import annotations

import time

import livespan.instrumentation as ls
from benchmarks.disk import BareDisk
from benchmarks.figure import Figure
from benchmarks.percentiles import percentile, spread
from benchmarks.stand import stand

__all__ = ["measure"]

_PAUSE_S = 0.005
_WARM_UP = 30


@ls.tool
def charge(number: int) -> int:
    """An effect that does nothing, so that all of its time is ours."""
    return number


def measure(quick: bool) -> list[Figure]:
    """Return what an effect costs over the disk; the pause between two lets the drain finish with the last one's result."""
    bare: list[float] = []
    effects: list[float] = []
    with stand() as home, ls.run("intend", home=home.root):
        disk = BareDisk(home.root / "bare-disk")
        try:
            for number in range((150 if quick else 600) + _WARM_UP):
                time.sleep(_PAUSE_S)
                took_s = disk.overwrite_s()
                time.sleep(_PAUSE_S)
                began_s = time.perf_counter()
                charge(number)
                if number >= _WARM_UP:
                    effects.append(time.perf_counter() - began_s)
                    bare.append(took_s)
        finally:
            disk.close()
    over_ms = (percentile(effects, 0.5) - percentile(bare, 0.5)) * 1000
    whole, floor = spread(effects, 1000), spread(bare, 1000)
    return [
        Figure(
            group="intend",
            name="an effect's call (Intend acknowledged, result spooled) over a bare fdatasync, p50",
            value=over_ms,
            unit="ms",
            floor=0.6,
            note=f"the whole call: {whole['p50']:.2f} ms p50, {whole['p99']:.2f} ms p99",
            detail={f"call_{key}": value for key, value in whole.items()},
        ),
        Figure(
            group="intend",
            name="bare fdatasync: 4 KB overwritten in a preallocated file, p50",
            value=floor["p50"],
            unit="ms",
            note=f"p90 {floor['p90']:.2f} ms, p99 {floor['p99']:.2f} ms; interleaved with the effects",
            detail=floor,
        ),
    ]
