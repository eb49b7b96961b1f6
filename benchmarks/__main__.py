"""`python -m benchmarks [--quick] [--only NAME]...`: measure, print, and write results/; a whole run puts its floors
into the README, too.

The exit code is 0 even where a floor is missed, which is said in the table and at its end; it is 1 where a group
gave no figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from benchmarks import machine
from benchmarks.figure import Figure
from benchmarks.groups import GROUPS
from benchmarks.report import Results, shown, write, write_readme
from benchmarks.stand import WORKING_FOLDER

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the groups that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Livespan costs.")
    parser.add_argument("--quick", action="store_true", help="fewer samples: for a look, not for a README")
    parser.add_argument(
        "--only", action="append", choices=sorted(GROUPS), metavar="NAME", help=f"one of {', '.join(GROUPS)}"
    )
    parser.add_argument("--dry", action="store_true", help="write no files")
    chosen = parser.parse_args(arguments)
    WORKING_FOLDER.mkdir(parents=True, exist_ok=True)
    told = machine.describe(WORKING_FOLDER) | {"load before (1, 5 min)": machine.load()}
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    loops_ms = [machine.loop_ms()]
    for name in GROUPS:
        if chosen.only and name not in chosen.only:
            continue
        print(f"== {name}", flush=True)
        found = _group(name, chosen.quick)
        if isinstance(found, str):
            failures[name] = found
            print(f"   NOT MEASURED: {found}", flush=True)
            continue
        figures += found
        for figure in found:
            print(_line(figure), flush=True)
        loops_ms.append(machine.loop_ms())
    told["load after"] = machine.load()
    told["a fixed loop of Python, between the groups"] = f"{min(loops_ms):.1f} to {max(loops_ms):.1f} ms"
    results = Results(" ".join(["python -m benchmarks", *arguments]), told, figures, failures)
    if not chosen.dry:
        for file in write(results):
            print(f"wrote {file.parent.parent.name}/{file.parent.name}/{file.name}")
        if not failures and not arguments:
            write_readme(figures)
    missed = [figure for figure in figures if figure.missed]
    for figure in missed:
        print(f"MISSED: {figure.name}: {shown(figure.value)} {figure.unit}, floor {shown(figure.floor)}")
    floors = sum(figure.floor is not None for figure in figures)
    print(f"{floors - len(missed)} of {floors} floors met")
    return 1 if failures else 0


def _group(name: str, quick: bool) -> list[Figure] | str:
    """Return the figures of a group, or why there are none."""
    bound_s = GROUPS[name][1]
    command = [sys.executable, "-m", "benchmarks.worker", name, "quick" if quick else "full"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=bound_s, check=False)
    except subprocess.TimeoutExpired:
        return f"it took longer than {bound_s:g} s"
    if done.returncode:
        words = done.stderr.strip().splitlines()
        return words[-1] if words else f"exit code {done.returncode}"
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Figure])


def _line(figure: Figure) -> str:
    bound = f"  (floor {shown(figure.floor)})" if figure.floor is not None else ""
    return f"   {figure.name}: {shown(figure.value)} {figure.unit}{bound} {figure.verdict}  {figure.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
