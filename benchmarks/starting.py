"""What starting costs: the first run of a home with its collector, the next run of a process, and the import."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from benchmarks.figure import Figure
from benchmarks.percentiles import percentile
from benchmarks.stand import stand

__all__ = ["measure"]

_RUNS: Final = """
import sys, time
began = time.perf_counter()
import livespan.instrumentation as ls

@ls.step
def think(question: str) -> str:
    return "answer"

for number in range(int(sys.argv[2])):
    with ls.run(f"run-{sys.argv[3]}-{number}", home=sys.argv[1]):
        think("question")
        print(time.perf_counter() - began, flush=True)
    began = time.perf_counter()
"""
_IMPORT: Final = """
import time
began = time.perf_counter()
{imports}
took = time.perf_counter() - began
with open("/proc/self/status") as status:
    kept = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
print(took, kept / 1024)
"""
_OTHERS: Final = (
    "import grpc, opentelemetry.sdk.trace.export\nimport opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
)
_OURS: Final = (
    "import livespan.instrumentation as ls\nls.run, ls.step, ls.tool, ls.checkpoint, ls.branch, ls.instrument"
)


def measure(quick: bool) -> list[Figure]:
    """Return times to a run's first step, and what the import adds to the SDK's and gRPC's."""
    cold: list[float] = []
    warm: list[float] = []
    fresh: list[float] = []
    for _ in range(2 if quick else 5):
        with stand() as home:
            first, *following = _program(_RUNS, str(home.root), "4", "first")
            cold.append(first)
            warm.extend(following)
            fresh.append(_program(_RUNS, str(home.root), "1", "second")[0])
    added_s: list[float] = []
    added_mb: list[float] = []
    for _ in range(3 if quick else 7):
        others_s, others_mb = _program(_IMPORT.format(imports=_OTHERS))
        both_s, both_mb = _program(_IMPORT.format(imports=f"{_OTHERS}\n{_OURS}"))
        added_s.append(both_s - others_s)
        added_mb.append(both_mb - others_mb)
    return [
        _figure("run() to the first step, cold: sidecar and drain started, import included", cold, "s", 1, 2.0),
        _figure("run() to the first step, warm: the next run of the process", warm, "ms", 1000, 60),
        _figure("the same in a new process, sidecar up, import included", fresh, "ms", 1000, None),
        _figure("importing livespan.instrumentation adds to SDK and grpcio", added_s, "s", 1, 0.25),
        _figure("the same, resident memory", added_mb, "MB", 1, 40),
    ]


def _figure(name: str, samples: list[float], unit: str, scale: float, floor: float | None) -> Figure:
    low, high = min(samples) * scale, max(samples) * scale
    return Figure(
        group="starting",
        name=f"{name}, median",
        value=percentile(samples, 0.5) * scale,
        unit=unit,
        floor=floor,
        note=f"{low:.3g} to {high:.3g} {unit} over {len(samples)}",
    )


def _program(source: str, *arguments: str) -> list[float]:
    """Run a program of its own and return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return [float(word) for word in done.stdout.split()]
