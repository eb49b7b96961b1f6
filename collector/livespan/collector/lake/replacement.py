"""The commit that puts merged files in the place of their sources: remove and add in one, with `dataChange` false, as
Delta's protocol has it for what changes no row. deltalake's own interface adds files and cannot remove them.

    _commit_<random>.json.tmp written, synced ─▶ linked as N.json (fails where N is there) ─▶ folder synced: it counts

The name appears whole or not at all, and no commit of anybody else is written over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from livespan.collector.disk import Disk, write_all
from livespan.collector.lake.delta_folder import LOG_FOLDER, UNFINISHED, commit_path
from livespan.proto.clock import random_hex

__all__ = ["OUR_COMMIT", "Replacement", "write_replacement"]

_BY: Final = "livespan"
OUR_COMMIT: Final = f'"engineInfo":"{_BY}"'.encode()
"""What tells such a commit from another engine's."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What the commit says. `targets` are the new files, each with its statistics as Delta has them: JSON text. Times
    are wall time.
    """

    sources: Sequence[Path]
    targets: Sequence[tuple[Path, str]]
    now_ns: int


def write_replacement(folder: Path, version: int, replacement: Replacement, disk: Disk) -> None:
    """Write commit `version` of the table in `folder`; the new files are synced already.

    Raises:
        FileExistsError: somebody else has committed that version.
        OSError: the disk refused; the commit may be there or not.
    """
    log = folder / LOG_FOLDER
    unfinished = log / UNFINISHED.replace("*", random_hex(8))
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, unfinished, [_lines(replacement)], 0)
        disk.sync_file(fd, unfinished)
        os.link(unfinished, commit_path(folder, version))
    finally:
        os.close(fd)
        disk.remove(unfinished)
    disk.sync_folder(log)


def _lines(replacement: Replacement) -> bytes:
    now_ms = replacement.now_ns // 1_000_000
    actions: list[dict[str, object]] = [
        {
            "commitInfo": {
                "timestamp": now_ms,
                "operation": "OPTIMIZE",
                "operationParameters": {},
                "engineInfo": _BY,
                "isBlindAppend": False,
            }
        }
    ]
    for source in replacement.sources:
        removed: dict[str, object] = {
            "path": source.name,
            "deletionTimestamp": now_ms,
            "dataChange": False,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": source.stat().st_size,
        }
        actions.append({"remove": removed})
    for target, stats in replacement.targets:
        added: dict[str, object] = {
            "path": target.name,
            "partitionValues": {},
            "size": target.stat().st_size,
            "modificationTime": now_ms,
            "dataChange": False,
            "stats": stats,
        }
        actions.append({"add": added})
    return b"".join([msgspec.json.encode(action) + b"\n" for action in actions])
