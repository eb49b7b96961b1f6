"""The agent's side's checks of `livespan doctor`: the spool, the drain, what dead writers left."""

from __future__ import annotations

import os
from collections.abc import Iterator

from livespan.instrumentation.drain_process import drain_is_running
from livespan.instrumentation.framework_checks import check_frameworks
from livespan.instrumentation.spool import WriterFolder, list_writers
from livespan.proto.errors import Damaged, LivespanError, NotFound
from livespan.proto.finding import Finding
from livespan.proto.home import Home

__all__ = ["check"]


def check(home: Home) -> Iterator[Finding]:
    """Look at the home's spool, and at what is installed; nothing is changed or started."""
    yield from check_frameworks()
    try:
        folders = list_writers(home.spool)
    except LivespanError as error:
        yield Finding("spool", False, error.message, error.hint)
        return
    running = drain_is_running(home)
    alive = dead = waiting = waiting_bytes = 0
    for folder in folders:
        count, count_bytes = _waiting(folder)
        waiting += count
        waiting_bytes += count_bytes
        if folder.alive():
            alive += 1
        elif count:
            dead += 1
        folder.close()
    detail = f"{alive} writing, {waiting} records not acknowledged yet ({waiting_bytes / 1e6:.1f} MB)"
    if dead:
        yield Finding(
            "spool",
            None if running else False,
            f"{detail}, of {dead} dead writers among others",
            "" if running else "Start any program with a run in this home: it sends them. Nothing is lost meanwhile.",
        )
    else:
        yield Finding("spool", True, detail)
    yield Finding(
        "drain", None if alive and not running else True, "runs" if running else "does not run; agents start it"
    )
    refused = home.spool / "refused"
    kept = len(os.listdir(refused)) if refused.is_dir() else 0
    if kept:
        yield Finding(
            "refused", False, f"{kept} records that the collector refused for good", f"They are kept in {refused}."
        )


def _waiting(folder: WriterFolder) -> tuple[int, int]:
    """Return how many records of a writer are not acknowledged, and their bytes; a damaged one ends the count."""
    count = size_bytes = 0
    try:
        for entry in folder.entries(folder.watermark()):
            count += 1
            size_bytes += len(entry.head) + len(entry.body)
    except (NotFound, Damaged):
        return count, size_bytes
    return count, size_bytes
