"""Writing one commit of a Delta table: JSON lines, an action each, under the next version's name.

    _commit_<random>.json.tmp written, synced ─▶ linked as N.json (fails where N is there) ─▶ folder synced: it counts

The name appears whole or not at all, and no commit of anybody else is written over. delta-rs could do it too, but syncs
nothing, cannot remove files, and reads the table anew each time: 25 ms of processor time, where this takes one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from livespan.collector.disk import Disk, write_all
from livespan.collector.lake.delta_folder import LOG_FOLDER, UNFINISHED, commit_path
from livespan.proto.clock import random_hex

__all__ = ["OUR_COMMIT", "Action", "Addition", "added", "commit_info", "write_addition", "write_commit"]

Action: TypeAlias = dict[str, dict[str, object]]
_BY: Final = "livespan"
OUR_COMMIT: Final = f'"engineInfo":"{_BY}"'.encode()
"""What tells such a commit from another engine's."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A commit that adds one file, and says what it accounts for. `stats` is Delta's JSON text, times are wall time.

    Attributes:
        app, watermark: the application transaction.
    """

    path: Path
    stats: str
    app: str
    watermark: int
    now_ns: int


def write_addition(folder: Path, version: int, addition: Addition, disk: Disk) -> None:
    """Write commit `version` of the table in `folder`; the file is synced already. Raises as `write_commit`."""
    now_ms = addition.now_ns // 1_000_000
    transaction: dict[str, object] = {"appId": addition.app, "version": addition.watermark, "lastUpdated": now_ms}
    actions: list[Action] = [
        commit_info(now_ms, "WRITE", {"mode": "Append", "partitionBy": "[]"}),
        {"txn": transaction},
        added(addition.path, addition.stats, now_ms, data_change=True),
    ]
    write_commit(folder, version, actions, disk)


def commit_info(now_ms: int, operation: str, parameters: dict[str, str]) -> Action:
    """Return the action that says what a commit is."""
    return {
        "commitInfo": {
            "timestamp": now_ms,
            "operation": operation,
            "operationParameters": parameters,
            "engineInfo": _BY,
            "isBlindAppend": operation == "WRITE",
        }
    }


def added(path: Path, stats: str, now_ms: int, *, data_change: bool) -> Action:
    """Return the action that adds a file."""
    return {
        "add": {
            "path": path.name,
            "partitionValues": {},
            "size": path.stat().st_size,
            "modificationTime": now_ms,
            "dataChange": data_change,
            "stats": stats,
        }
    }


def write_commit(folder: Path, version: int, actions: Sequence[Action], disk: Disk) -> None:
    """Write commit `version` of the table in `folder`.

    Raises:
        FileExistsError: somebody else has committed that version.
        OSError: the disk refused; the commit may be there or not.
    """
    log = folder / LOG_FOLDER
    unfinished = log / UNFINISHED.replace("*", random_hex(8))
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, unfinished, [b"".join([msgspec.json.encode(action) + b"\n" for action in actions])], 0)
        disk.sync_file(fd, unfinished)
        os.link(unfinished, commit_path(folder, version))
    finally:
        os.close(fd)
        disk.remove(unfinished)
    disk.sync_folder(log)
