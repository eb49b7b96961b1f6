"""A drain that can be paused: `python -m tests.crash.drain --home H --pauses P`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.crash.pausing import PauseHook

from livespan.instrumentation.drain_process import main as drain_main


def main(arguments: Sequence[str]) -> int:
    """Drain the home until there is nothing to do."""
    _, home, _, pauses = arguments
    return drain_main(["--home", home], pause=PauseHook(Path(pauses), "drain"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
