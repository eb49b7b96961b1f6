"""`python -m tests.matrix FRAMEWORK [--cover] [--again] [--only WORDS]`: plays cells and writes results/FRAMEWORK.json
after each; cells that the file has of this commit are not played again. Exit code 1 where a cell of ours is wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from benchmarks.machine import commit
from tests.matrix.agent import Outcome
from tests.matrix.cells import FRAMEWORKS, Cell, all_cells, cover
from tests.matrix.player import ROOT, Played, Player, wrong

_RESULTS: Final = Path(__file__).with_name("results")


def main(arguments: Sequence[str]) -> int:
    """Play, print a line a cell, and keep what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("framework", choices=sorted(FRAMEWORKS))
    parser.add_argument("--cover", action="store_true", help="the cells that CI plays")
    parser.add_argument("--again", action="store_true", help="play those too that the file has of this commit")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    told = parser.parse_args(arguments)
    path = _RESULTS / f"{told.framework}.json"
    now = commit(ROOT)
    kept: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    if kept.get("commit") != now:
        kept = {"commit": now, "cells": {}}
    cells = all_cells(told.framework)
    chosen = [cell for cell in (cover(cells) if told.cover else cells) if told.only in cell.name]
    faults = 0
    _RESULTS.mkdir(exist_ok=True)
    with Player() as player:
        for cell in chosen:
            if cell.name in kept["cells"] and not told.again:
                continue
            played = _play(player, cell)
            fault = wrong(cell, played) if cell.how == "ours" else ""
            faults += bool(fault)
            kept["date"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            kept["cells"][cell.name] = {**msgspec.to_builtins(played), "wrong": fault}
            path.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
            print(f"{'WRONG' if fault else 'ok   '} {told.framework} {cell.name}  {fault}", flush=True)
    return 1 if faults else 0


def _play(player: Player, cell: Cell) -> Played:
    try:
        return player.play(cell)
    except subprocess.TimeoutExpired as error:
        return Played(Outcome(stopped="TimedOut", message=str(error.output)[-2000:]), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
