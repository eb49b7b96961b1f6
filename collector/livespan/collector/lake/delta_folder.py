"""What a power cut may have left of a table, and mending it before the table is opened. delta-rs syncs nothing, and
it opens a table whose newest commit is an empty file without a word.

    _delta_log/N.json              synced by us before commit N + 1: only the newest can be torn. Torn: removed, it
    never was
    _delta_log/N.checkpoint.parquet, _last_checkpoint
                                   synced by us before anything rests on them; torn, or naming none: removed, the
                                   commits say the same
    _commit_*.json.tmp             a commit that was never given its name: removed
    *.parquet                      synced before its commit. No commit names it: removed, the log still has its records
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from livespan.collector.arrow import read_parquet
from livespan.collector.disk import Disk
from livespan.proto.errors import Damaged

__all__ = ["LOG_FOLDER", "UNFINISHED", "commit_path", "mend", "names_a_checkpoint", "remove_unnamed"]

LOG_FOLDER: Final = "_delta_log"
UNFINISHED: Final = "_commit_*.json.tmp"
"""A pattern: commits under way, ours and delta-rs'."""


class _Pointer(msgspec.Struct, frozen=True):
    version: int


def commit_path(folder: Path, version: int) -> Path:
    """Return the file of a table's commit."""
    return folder / LOG_FOLDER / f"{version:020}.json"


def mend(folder: Path, disk: Disk) -> list[Path]:
    """Remove a torn newest commit and torn checkpoints; return what was removed.

    Raises:
        Damaged: a commit before the newest is torn, which no crash explains.
        OSError: the disk refused.
    """
    log = folder / LOG_FOLDER
    if not log.is_dir():
        return []
    removed: list[Path] = sorted(log.glob(UNFINISHED))
    torn: list[Path] = []
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    if checkpoints and not _is_parquet(checkpoints[-1]):
        torn.append(checkpoints[-1])
    pointer = log / "_last_checkpoint"
    if pointer.exists() and (torn or not names_a_checkpoint(pointer)):
        torn.append(pointer)
    removed += torn
    commits = sorted(path for path in log.glob("*.json") if path.stem.isdigit())
    if commits and not _is_json(commits[-1]):
        removed.append(commits[-1])
        if len(commits) > 1 and not _is_json(commits[-2]):
            raise Damaged(
                "two commits of the table are torn, where a crash leaves one at most",
                subject=str(commits[-2]),
                hint="Restore the lake from a copy; what the log still holds is published again.",
            )
    for path in removed:
        disk.remove(path)
    if removed:
        disk.sync_folder(log)
    return removed


def remove_unnamed(folder: Path, live: frozenset[str], disk: Disk) -> list[Path]:
    """Remove the table folder's Parquet files that no commit names; return them.

    A file that an engine's compaction took out of the table is still named by that commit, and stays.
    """
    found = [path for path in sorted(folder.glob("*.parquet")) if path.name not in live]
    if not found:
        return []
    told = b"\n".join([path.read_bytes() for path in (folder / LOG_FOLDER).glob("*.json")])
    removed = [path for path in found if path.name.encode() not in told]
    for path in removed:
        disk.remove(path)
    if removed:
        disk.sync_folder(folder)
    return removed


def names_a_checkpoint(pointer: Path) -> bool:
    """Return whether the pointer to the table's last checkpoint can be read and names one that is there.

    Raises:
        OSError: the disk refused.
    """
    try:
        version = msgspec.json.decode(pointer.read_bytes(), type=_Pointer).version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return any(pointer.parent.glob(f"{version:020}.checkpoint*.parquet"))


def _is_json(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    try:
        for line in lines:
            msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return bool(lines)


def _is_parquet(path: Path) -> bool:
    try:
        read_parquet(path)
    except (OSError, ValueError):
        return False
    return True
