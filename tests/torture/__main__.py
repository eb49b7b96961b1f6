"""`python -m tests.torture [--times N] [--soak-s S] [--seed N]`: everything, many times; writes results/DATE.json.

Exit code 1 where anything was lost, doubled, damaged or not reached as often as asked. It takes about three quarters of
an hour. A part that breaks off is a problem of its own, and the others are played all the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.machine import commit, describe
from tests.crash.stage import ROOT, TrialError
from tests.torture.bad_machine import on_a_bad_machine
from tests.torture.flip_kinds import KINDS
from tests.torture.flips import flip_each_kind
from tests.torture.full_disk import on_a_full_disk
from tests.torture.kills import kill_at_each_point
from tests.torture.points import POINTS
from tests.torture.soak import faults_of, soak

_RESULTS: Final = Path(__file__).with_name("results")
_Part = tuple[dict[str, object], list[str]]
"""What is written of a part, and what was wrong."""


def main(arguments: Sequence[str]) -> int:
    """Torture, print and write what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--soak-s", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    times, seed = told.times, told.seed
    parts: dict[str, Callable[[Path], _Part]] = {
        "kills": lambda folder: _kills(folder, times, seed),
        "eio": lambda folder: _bad_machine(folder, "eio", times, seed),
        "clock": lambda folder: _bad_machine(folder, "clock", times, seed),
        "full disk": lambda folder: _full_disk(folder, times, seed),
        "flips": lambda folder: _flips(folder, times, seed),
        "soak": lambda folder: _soak(folder, told.soak_s),
    }
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        result: dict[str, object] = {**describe(Path(place)), "commit": commit(ROOT), "times": times, "seed": seed}
        for name, play in parts.items():
            began_s = time.monotonic()
            try:
                result[name], found = play(Path(place) / name.replace(" ", "-"))
            except (TrialError, subprocess.SubprocessError, OSError) as error:
                found = [f"it broke off: {type(error).__name__}: {error}"]
            problems += [f"{name}: {problem}" for problem in found]
            took_s = result[f"{name} took_s"] = round(time.monotonic() - began_s)
            print(f"{name}: {took_s} s, {len(found)} problems", file=sys.stderr, flush=True)
    result["problems"] = problems
    text = json.dumps(result, indent=2)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json").write_text(text + "\n")
    print(text)
    return 1 if problems else 0


def _kills(folder: Path, times: int, seed: int) -> _Part:
    report = kill_at_each_point(folder, times, seed)
    points = [point for points in POINTS.values() for point in points]
    seldom = [f"{point}: {report.kills[point]} of {times}" for point in points if report.kills[point] != times]
    return {"points": dict(sorted(report.kills.items())), "compared": dict(report.compared)}, report.problems + seldom


def _bad_machine(folder: Path, trouble: str, times: int, seed: int) -> _Part:
    reports = [on_a_bad_machine(folder / str(each), trouble, seed + each) for each in range(times)]
    problems = [problem for report in reports for problem in report.problems]
    struck = [report.kills[trouble] for report in reports]
    problems += [f"home {seed + each} was never struck" for each, times_struck in enumerate(struck) if not times_struck]
    return {"homes": times, "struck": sum(struck), "struck least": min(struck)}, problems


def _full_disk(folder: Path, times: int, seed: int) -> _Part:
    found = [on_a_full_disk(folder / str(each), seed + each) for each in range(times)]
    return {"homes": times}, [each for each in found if each]


def _flips(folder: Path, times: int, seed: int) -> _Part:
    report = flip_each_kind(folder, times, seed)
    seldom = [f"{kind}: {report.flips[kind]} of {times}" for kind in sorted(KINDS) if report.flips[kind] != times]
    told = {"kinds": dict(sorted(report.flips.items())), "met": dict(sorted(report.outcomes.items()))}
    return {**told}, report.problems + seldom


def _soak(folder: Path, seconds: float) -> _Part:
    report = soak(folder, seconds, 500)
    return asdict(report), faults_of(report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
