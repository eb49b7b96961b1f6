"""The commit that puts merged files in the place of their sources: remove and add in one, with `dataChange` false, as
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
    """What the commit says. `targets` are the new files, each with its statistics as Delta has them: JSON text. Times
    are wall time.
    """

    sources: Sequence[Path]
    targets: Sequence[tuple[Path, str]]
    now_ns: int


def write_replacement(folder: Path, version: int, replacement: Replacement, disk: Disk) -> None:
    """Write commit `version` of the table in `folder`; the new files are synced already. Raises as `write_commit`."""
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
    actions += [added(target, stats, now_ms, data_change=False) for target, stats in replacement.targets]
    write_commit(folder, version, actions, disk)
