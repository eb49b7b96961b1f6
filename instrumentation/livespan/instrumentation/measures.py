"""The spool in numbers, for the collector's /metrics: how much waits for it, and who writes.

Of each writer a bounded number of records is read, so a scrape ends however much waits; the size of the files on disk
is always whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from livespan.instrumentation.drain_process import drain_is_running
from livespan.instrumentation.spool import WriterFolder, list_writers
from livespan.instrumentation.spool.quota import segments_bytes
from livespan.proto.errors import Damaged, LivespanError, NotFound
from livespan.proto.home import Home
from livespan.proto.measured import Family, gauge

__all__ = ["Backlog", "backlog", "measure"]

_COUNTED: Final = 1000
"""Records of one writer that are counted, at most: a scrape must end."""


class Backlog(NamedTuple):
    """What of a spool is not acknowledged yet.

    Attributes:
        records: how many; of a writer with very many, `more` is set and the rest is not counted.
        size_bytes: of those records as they lie in the spool.
        file_bytes: what all segments take on disk, spare ones included.
        writers, dead_writers: processes that write, and dead ones that have left something.
        refused: records that a collector refused for good.
    """

    records: int
    size_bytes: int
    file_bytes: int
    writers: int
    dead_writers: int
    refused: int
    more: bool = False


def measure(home: Home) -> Iterator[Family]:
    """Yield the spool's numbers."""
    now = backlog(home)
    yield gauge(
        "livespan_spool_backlog_records",
        f"Records not acknowledged yet (of each writer at most {_COUNTED} are counted).",
        now.records,
    )
    yield gauge("livespan_spool_backlog_bytes", "What those records take in the spool.", now.size_bytes)
    yield gauge("livespan_spool_segments_bytes", "What all segments of the spool take on disk.", now.file_bytes)
    yield gauge("livespan_spool_writers", "Living processes that write.", now.writers)
    yield gauge("livespan_spool_dead_writers", "Dead writers that have left something.", now.dead_writers)
    yield gauge("livespan_spool_refused_records", "Records in spool/refused/.", now.refused)
    yield gauge("livespan_drain_running", "1: a drain is at work.", drain_is_running(home))


def backlog(home: Home, counted: int = _COUNTED) -> Backlog:
    """Return what a home's spool holds; zeros where there is none.

    Args:
        counted: of each writer at most so many records are looked at.

    Raises:
        InvalidInput: the spool is not ours alone.
    """
    records = size_bytes = file_bytes = writers = dead = 0
    more = False
    for folder in list_writers(home.spool):
        try:
            found, found_bytes = _waiting(folder, counted)
            more |= found == counted
            records += found
            size_bytes += found_bytes
            file_bytes += segments_bytes(folder.path)
            if folder.alive():
                writers += 1
            elif found:
                dead += 1
        except LivespanError:
            continue  # it went away, or cannot be read: doctor says so
        finally:
            folder.close()
    return Backlog(records, size_bytes, file_bytes, writers, dead, _refused(home), more)


def _waiting(folder: WriterFolder, counted: int) -> tuple[int, int]:
    found = found_bytes = 0
    try:
        for entry in folder.entries(folder.watermark()):
            found += 1
            found_bytes += len(entry.head) + len(entry.body)
            if found == counted:
                break
    except (NotFound, Damaged):
        return found, found_bytes
    return found, found_bytes


def _refused(home: Home) -> int:
    try:
        return len(os.listdir(home.spool / "refused"))
    except OSError:
        return 0
