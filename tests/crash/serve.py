"""A collector that can be paused, made small, and given a bad machine:
`python -m tests.crash.serve --home H --pauses P ... [--trouble eio:SEED | clock:SEED]`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.crash import mutations
from tests.crash.pausing import PauseHook
from tests.crash.trouble import Trouble

from livespan.collector.commands.serve import run_collector
from livespan.collector.context import Protections
from livespan.collector.log import LogProtections
from livespan.collector.seams import Seams
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.proto.home import Home

RECYCLED = "recycled"


def counting_recycles(pauses: Path) -> Callable[[str], None]:
    """Return the pause hook; it also leaves a byte in `recycled` for each log segment that is freed."""
    pause = PauseHook(pauses, "collector")
    count = os.open(pauses / RECYCLED, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def passed(step: str) -> None:
        if step == "log.recycle":
            os.write(count, b".")
        pause(step)

    return passed


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--pauses", type=Path, required=True)
    parser.add_argument("--segment-bytes", type=int, default=1 << 20)
    parser.add_argument("--publish-s", type=float, default=0.2)
    parser.add_argument("--lease-s", type=float, default=15.0)
    parser.add_argument("--without", default="")
    parser.add_argument("--trouble", default="")
    told = parser.parse_args(arguments)
    trouble = Trouble.told(told.trouble, told.pauses)
    mutations.in_collector(told.without)
    collector = Collector(
        Home(told.home),
        CollectorSettings(segment_bytes=told.segment_bytes, publish_s=told.publish_s, lease_s=told.lease_s),
        seams=Seams(
            clock=trouble.clock,
            disk=trouble.disk,
            faults=counting_recycles(told.pauses),
            protections=Protections(fencing=told.without != "fencing"),
            log_protections=LogProtections(reuse_number=told.without != "reuse-number"),
        ),
    )
    asyncio.run(run_collector(collector))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
