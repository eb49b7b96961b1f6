"""The process of one group: `python -m benchmarks.worker NAME full|quick` prints its figures as JSON on the last
line.

A process for each, so that no group finds the heap, the caches or the threads that another left behind.
"""

from __future__ import annotations

import sys

import msgspec

from benchmarks.groups import load

__all__: list[str] = []


def main(name: str, extent: str) -> None:
    """Measure one group and print it."""
    figures = load(name)(extent == "quick")
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
