"""An agent that goes on and on: `python -m tests.torture.soak_agent --home H --witness W --seconds S --rate N`.

Nodes of 10 KB, `rate` a second, in runs of ten seconds each. After each return it appends "RUN NUMBER SHA256" to its
witness: what is in there was recorded, whatever happens to the collector.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import livespan.instrumentation as ls

__all__ = ["main"]

_RUN_S: Final = 10.0
_CHARACTERS: Final = 10_000
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz     "


@ls.step
def think(number: int, text: str) -> str:
    """Answer with the text, turned around: 10 KB in and out together are what a node has."""
    del number
    return text[::-1]


def main(arguments: Sequence[str]) -> int:
    """Go on for so long; return 0."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--witness", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True)
    told = parser.parse_args(arguments)
    witness = os.open(told.witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    coin = random.Random(7)
    texts = ["".join(coin.choices(_LETTERS, k=_CHARACTERS // 2)) for _ in range(50)]
    began_s = time.monotonic()
    number = 0
    while time.monotonic() - began_s < told.seconds:
        run = f"soak-{number}"
        with ls.run(run, home=told.home):
            until_s = time.monotonic() + _RUN_S
            while time.monotonic() < until_s:
                answer = think(number, coin.choice(texts))
                os.write(witness, f"{run} {number} {sha256(answer.encode()).hexdigest()}\n".encode())
                number += 1
                ahead_s = began_s + number / told.rate - time.monotonic()
                if ahead_s > 0:
                    time.sleep(ahead_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
