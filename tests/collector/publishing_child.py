"""A process that appends and publishes, and compacts where asked to, until it is killed: `publishing_child.py FOLDER
LIFE [compact]`; not a test.

It prints `ready` once, then a line at each step of each publication.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.collector.stand import Stand, Writer, node


def main(folder: Path, life: int, *, compact: bool) -> None:
    stand = Stand(folder, faults=lambda step: print(step, flush=True), held=True)
    writer = Writer(name=f"w{life}-{os.getpid()}")
    print("ready", flush=True)
    number = life * 1_000_000
    while True:
        number += 1
        stand.send(writer.started(node(number)), writer.checkpoint(number))
        if number % 3:
            stand.send(writer.ended(node(number)))
        if number % 5 == 0:
            stand.publish()
            if compact:
                stand.publisher.compaction.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), compact=len(sys.argv) > 3)
