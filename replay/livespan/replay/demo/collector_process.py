"""A collector for the demo's home with a lease short enough to wait for; also the one that lets anybody start effects.

python -m livespan.replay.demo.collector_process --home DIR --lease-s S [--no-fencing]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from livespan.collector.commands.serve import run_collector
from livespan.collector.context import Protections
from livespan.collector.listening import Listen
from livespan.collector.seams import Seams
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.proto.home import Home

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--lease-s", type=float, required=True)
    parser.add_argument("--no-fencing", action="store_true")
    told = parser.parse_args(arguments)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    collector = Collector(
        Home(told.home),
        CollectorSettings(lease_s=told.lease_s),
        Listen(runtime_folder=Path(runtime) if runtime else None),
        seams=Seams(protections=Protections(fencing=not told.no_fencing)),
    )
    asyncio.run(run_collector(collector))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
