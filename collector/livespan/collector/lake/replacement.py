"""The commit that puts one merged file in the place of its sources: remove and add in one, with `dataChange` false, as
Delta's protocol has it for what changes no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from livespan.collector.disk import Disk
from livespan.collector.lake.commit_file import Action, added, commit_info, write_commit

__all__ = ["Replacement", "write_replacement"]


@dataclass(frozen=True, slots=True)
class Replacement:
    """What the commit says. `stats` is the new file's, as Delta has it: JSON text. Times are wall time."""

    sources: Sequence[Path]
    target: Path
    stats: str
    now_ns: int


def write_replacement(folder: Path, version: int, replacement: Replacement, disk: Disk) -> None:
    """Write commit `version` of the table in `folder`; the new file is synced already. Raises as `write_commit`."""
    now_ms = replacement.now_ns // 1_000_000
    actions: list[Action] = [commit_info(now_ms, "OPTIMIZE", {})]
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
    actions.append(added(replacement.target, replacement.stats, now_ms, data_change=False))
    write_commit(folder, version, actions, disk)
