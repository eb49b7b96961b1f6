"""`python -m tests.torture [--times N] [--soak-s S] [--seed N]`: everything, many times; writes results/DATE.json.

Exit code 1 where anything was lost, doubled or damaged. It takes about three quarters of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.machine import describe
from tests.torture.bad_machine import on_a_bad_machine
from tests.torture.full_disk import on_a_full_disk
from tests.torture.kills import kill_at_each_point
from tests.torture.soak import soak

_RESULTS: Final = Path(__file__).with_name("results")


def main(arguments: Sequence[str]) -> int:
    """Torture, print and write what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--soak-s", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        folder = Path(place)
        result: dict[str, object] = {**describe(folder), "times": told.times}
        kills = kill_at_each_point(folder / "kills", told.times, told.seed)
        problems += kills.problems
        result["kills"] = dict(sorted(kills.kills.items()))
        result["compared"] = dict(kills.compared)
        for trouble in ("eio", "clock"):
            struck = 0
            for seed in range(told.times):
                report = on_a_bad_machine(folder / f"{trouble}{seed}", trouble, told.seed + seed)
                problems += report.problems
                struck += report.kills[trouble]
            result[trouble] = {"homes": told.times, "struck": struck}
        full = [on_a_full_disk(folder / f"full{seed}", seed) for seed in range(told.times)]
        problems += [each for each in full if each]
        result["full disk"] = {"homes": told.times}
        soaked = soak(folder / "soak", told.soak_s, 500)
        result["soak"] = asdict(soaked)
        if soaked.missing or soaked.doubled:
            problems.append(f"soak: {soaked}")
    result["problems"] = problems
    text = json.dumps(result, indent=2)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json").write_text(text + "\n")
    print(text)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
