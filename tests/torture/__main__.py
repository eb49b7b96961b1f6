"""`python -m tests.torture [--times N] [--soak-s S] [--seed N] [--only PART]...`: everything, many times; writes
results/DATE.json, anew after each part.

Exit code 1 where anything was lost, doubled, damaged or not reached as often as asked. It takes an hour. A part that
breaks off is a problem of its own, and the others are played all the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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
_PARTS: Final = ("kills", "eio", "clock", "full-disk", "flips", "soak")
_Part = tuple[dict[str, object], list[str]]
"""What is written of a part, and what was wrong."""


def main(arguments: Sequence[str]) -> int:
    """Torture, print and write what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--soak-s", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", action="append", choices=_PARTS, help="these parts alone, beside what the day's file has of others"
    )
    told = parser.parse_args(arguments)
    path = _RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json"
    result: dict[str, Any] = json.loads(path.read_text()) if told.only and path.exists() else {}
    played: dict[str, dict[str, Any]] = result.setdefault("parts", {})
    _RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        machine = describe(Path(place))
        del machine["commit"]  # each part has its own
        result |= machine
        for name in told.only or _PARTS:
            began_s = time.monotonic()
            try:
                found, problems = _play(name, Path(place) / name, told.times, told.seed, told.soak_s)
            except (TrialError, subprocess.SubprocessError, OSError) as error:
                found, problems = {}, [f"it broke off: {type(error).__name__}: {error}"]
            took_s = round(time.monotonic() - began_s)
            how = {"commit": commit(ROOT), "times": told.times, "seed": told.seed, "took_s": took_s}
            played[name] = {**found, **how, "problems": problems}
            print(f"{name}: {took_s} s, {len(problems)} problems", file=sys.stderr, flush=True)
            result["not played"] = [part for part in _PARTS if part not in played]
            result["problems"] = [f"{part}: {each}" for part in played for each in played[part]["problems"]]
            path.write_text(json.dumps(result, indent=2) + "\n")
    print(path.read_text())
    return 1 if result["problems"] else 0


def _play(name: str, folder: Path, times: int, seed: int, soak_s: float) -> _Part:
    match name:
        case "kills":
            return _kills(folder, times, seed)
        case "full-disk":
            return _full_disk(folder, times, seed)
        case "flips":
            return _flips(folder, times, seed)
        case "soak":
            return _soak(folder, soak_s)
        case trouble:
            return _bad_machine(folder, trouble, times, seed)


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
