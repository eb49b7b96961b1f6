"""An agent whose every answer can be told from the call:
`python -m tests.torture.flips_agent --home H --run R [--hang]`.

It prints one JSON line: `wrong` (answers that are not what that call must have), `tried` (effects whose body ran) and
`refused` (what stopped it, as its user would see it). With --hang it waits at its end for a line, does a little more,
and stands still, to be killed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import livespan.instrumentation as ls
from livespan.proto.errors import LivespanError, Stop

__all__ = ["STEPS", "answer_of", "main"]

STEPS: Final = 4
TRIED: Final[list[str]] = []
_LAST: Final = ("last/0", "last/1", "last/2")
_SIZES: Final = (40, 300, 24_000)


def answer_of(label: str) -> str:
    """Return what a call answers: text that hardly compresses, small and large in turn."""
    coin = random.Random(label)
    return coin.randbytes(_SIZES[coin.randrange(len(_SIZES))]).hex()


@ls.step
def think(label: str) -> str:
    """Answer."""
    return answer_of(label)


@ls.tool
def pay(label: str) -> str:
    """Do something to the world, and answer."""
    TRIED.append(label)
    return answer_of(label)


def play(home: Path, run: str, *, hang: bool) -> list[str]:
    """Play the run; return the calls that were answered wrong."""
    wrong: list[str] = []
    with ls.run(run, home=home):
        for number in range(STEPS):
            for call in (think, pay):
                label = f"{run}/{call.__name__}/{number}"
                if call(label) != answer_of(label):
                    wrong.append(label)
            ls.checkpoint(answer_of(f"{run}/state/{number}").encode())
        if hang:
            print("recorded", flush=True)
            sys.stdin.readline()
        wrong += [label for label in _LAST if think(label) != answer_of(label)]
        if hang:
            print("spooled", flush=True)
            time.sleep(600)
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Play and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", nargs="+", required=True)
    parser.add_argument("--hang", action="store_true")
    told = parser.parse_args(arguments)
    for run in told.run:
        wrong: list[str] = []
        refused = ""
        try:
            wrong = play(told.home, run, hang=told.hang)
        except (LivespanError, Stop) as error:
            refused = f"{type(error).__name__}: {error} | {getattr(error, 'hint', '')}"
        print(json.dumps({"run": run, "wrong": wrong, "tried": TRIED, "refused": refused}), flush=True)
        TRIED.clear()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
