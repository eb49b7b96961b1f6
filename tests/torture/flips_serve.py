"""A collector of small segments that says everything as JSON:
`python -m tests.torture.flips_serve --home H --publish-s S [--forward URL]`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from livespan.collector.commands.serve import run_collector
from livespan.collector.forward.target import parse_target
from livespan.collector.notice_output import NoticeForm, send_notices
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import LivespanError
from livespan.proto.home import Home

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; a refusal is printed with its subject and hint, as the command does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--publish-s", type=float, required=True)
    parser.add_argument("--forward", default="")
    told = parser.parse_args(arguments)
    send_notices(NoticeForm.JSON, "info", None)
    collector = Collector(
        Home(told.home),
        CollectorSettings(segment_bytes=64 << 10, publish_s=told.publish_s),
        forward=parse_target(told.forward) if told.forward else None,
    )
    try:
        asyncio.run(run_collector(collector))
    except LivespanError as error:
        print(f"REFUSED {error.message} | {error.subject} | {error.hint}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
