"""A process that watches a spool from outside: when each record was made, and when the watermark passed it.

    python -m benchmarks.watcher SPOOL       until its stdin ends; then a JSON list of latencies in ms on stdout

The acknowledgement is seen where the drain notes it, in the writer's `ack` page, four times a millisecond at most;
a record's own clock (its `ended_ns`) says when it was made. So the agent does nothing for being watched, and what
is measured includes the append, the drain's sleep, the request, the fdatasync and the answer. Records whose segment
is removed between two looks are not counted.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path

from livespan.instrumentation.outbound import EntryKind, decode_head
from livespan.instrumentation.spool import START, Position, WriterFolder, list_writers
from livespan.proto.errors import Damaged, NotFound

__all__: list[str] = []

_LOOK_S = 0.00025
_READ_S = 0.05


class _Watched:
    """One writer: its records' clocks, and the watermarks that were seen."""

    def __init__(self, folder: WriterFolder) -> None:
        self._folder = folder
        self._read = START
        self._made: list[tuple[Position, int]] = []
        self._seen: list[tuple[Position, int]] = [(folder.watermark(), 0)]

    def look(self) -> None:
        """Note the watermark where it moved."""
        position = self._folder.watermark()
        if position != self._seen[-1][0]:
            self._seen.append((position, time.time_ns()))

    def read(self) -> None:
        """Note the records that came."""
        try:
            for entry in self._folder.entries(self._read):
                self._read = entry.end
                if entry.kind == EntryKind.JOURNAL:
                    ended_ns = decode_head(entry.head).ended_ns
                    if ended_ns:
                        self._made.append((entry.end, ended_ns))
        except (NotFound, Damaged):
            return

    def latencies_ms(self) -> list[float]:
        """Return, for each record that was seen to be acknowledged, how long that took."""
        found: list[float] = []
        seen = iter(self._seen)
        position, at_ns = next(seen)
        for end, made_ns in self._made:
            while position < end:
                following = next(seen, None)
                if following is None:
                    return found
                position, at_ns = following
            if at_ns > made_ns:
                found.append((at_ns - made_ns) / 1e6)
        return found


def main(spool: Path) -> None:
    """Watch until stdin ends."""
    watched = [_Watched(folder) for folder in list_writers(spool)]
    print("watching", flush=True)
    read_s = 0.0
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        for writer in watched:
            writer.look()
        if time.monotonic() - read_s > _READ_S:
            for writer in watched:
                writer.read()
            read_s = time.monotonic()
    for writer in watched:
        writer.read()
        writer.look()
    print(json.dumps([latency for writer in watched for latency in writer.latencies_ms()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
