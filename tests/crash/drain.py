"""A drain that can be paused: `python -m tests.crash.drain --home H --pauses P [--eager]`.

An eager one waits for nothing between requests and has two under way, however small: requests of 64 KB and more would
each get a log segment of their own, and segments of 64 KB would never be used again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.crash.pausing import PauseHook

from livespan.instrumentation import drain
from livespan.instrumentation.drain_process import main as drain_main


def main(arguments: Sequence[str]) -> int:
    """Drain the home until there is nothing to do."""
    _, home, _, pauses, *eager = arguments
    if eager:
        drain._SMALL_BYTES = 0  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]  # the test's own shape
    return drain_main(["--home", home], pause=PauseHook(Path(pauses), "drain"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
