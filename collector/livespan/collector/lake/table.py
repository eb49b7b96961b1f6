"""One Delta table of the lake: its files, its watermark, and commits that last.

    file written and synced (parquet.py) ─▶ commit N.json written and synced (commit_file.py) ─▶ it counts

A commit carries the application transaction (`livespan:<log uuid>`, watermark): the `log_seq` up to which this log's
records were taken into account; that it does not move backwards is checked here. One process writes (the home's lock);
others may read, and may compact. A merge of our own replaces files by one commit (replacement.py) that leaves the
watermark as it is. What the table holds is known from our own commits; delta-rs reads it at the start, writes its
checkpoints, and tells what another engine has committed, which the folder of the commits shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from livespan.collector.arrow import ArrowSchema
from livespan.collector.disk import Disk
from livespan.collector.lake.add_actions import add_actions
from livespan.collector.lake.commit_file import Addition, write_addition
from livespan.collector.lake.delta_folder import LOG_FOLDER, commit_path, mend, remove_unnamed
from livespan.collector.lake.file_names import Role, place_of, sort_key
from livespan.collector.lake.parquet import sync_new_file
from livespan.collector.lake.removed_files import GRACE_S, RemovedFiles
from livespan.collector.lake.replacement import Replacement, write_replacement
from livespan.collector.lake.schema import FORMAT_VERSION
from livespan.collector.lake.seals import Sealed, Seals
from livespan.proto.clock import random_hex
from livespan.proto.errors import Conflict, Damaged, InvalidInput, Unavailable

__all__ = ["LakeFile", "Table", "open_table"]

_FORMAT: Final = "livespan.format"
_CHECKPOINT_EVERY: Final = 20


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A published file. `first_run` and `last_run` bound its run ids, None where that is not known; so is `rows`.
    `sealed` is what was known of it when it was published.
    """

    path: Path
    first_run: str | None
    last_run: str | None
    rows: int | None = None
    sealed: Sealed | None = field(default=None, compare=False)

    def may_hold(self, run_id: str) -> bool:
        """Return whether rows of this run may be in the file."""
        if self.first_run is None or self.last_run is None:
            return True
        return self.first_run <= run_id <= self.last_run

    def may_hold_any(self, run_ids: Iterable[str]) -> bool:
        """Return whether rows of one of these runs may be in the file, by what its seal says of it too."""
        within = [run_id for run_id in run_ids if self.may_hold(run_id)]
        return bool(within) and (self.sealed is None or not set(within).isdisjoint(self.sealed.runs))


def open_table(folder: Path, schema: ArrowSchema, log_id: str, disk: Disk) -> Table:
    """Open the table in `folder`, mended, or make it; remove files that no commit names.

    Raises:
        Damaged: it cannot be read. InvalidInput: a newer Livespan wrote it. OSError: the disk refused.
    """
    try:
        seals = Seals(folder, disk)
        mend(folder, disk)
        table = Table(folder, log_id, disk, _load(folder, schema, disk), seals)
        live = frozenset(file.path.name for file in table.files)
        remove_unnamed(folder, live, disk)
        table.removed.find(live)
    except DeltaError as error:
        raise Damaged(
            f"the table cannot be read: {error}",
            subject=str(folder),
            hint="Restore the lake from a copy, or move it away.",
        ) from error
    return table


def _load(folder: Path, schema: ArrowSchema, disk: Disk) -> DeltaTable:
    try:
        delta = DeltaTable(folder)
    except TableNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        delta = DeltaTable.create(
            folder,
            schema,
            configuration={
                _FORMAT: str(FORMAT_VERSION),
                "delta.logRetentionDuration": "interval 1 days",
                # Else each checkpoint carries the files that merges took out for a week.
                "delta.deletedFileRetentionDuration": f"interval {GRACE_S // 3600} hours",
            },
            raise_if_key_not_exists=False,
        )
        for parent in (folder, folder.parent, folder.parent.parent):
            disk.sync_folder(parent)
    found = str(delta.metadata().configuration.get(_FORMAT, ""))
    if found != str(FORMAT_VERSION):
        raise InvalidInput(
            f"the table has format {found or 'unknown'}, this Livespan reads {FORMAT_VERSION}",
            subject=str(folder),
            hint="Use the Livespan that wrote it, or a newer one.",
        )
    return delta


class Table:
    """An open table; one thread at a time, but `files` and `watermark` may be read by any."""

    def __init__(self, folder: Path, log_id: str, disk: Disk, delta: DeltaTable, seals: Seals) -> None:
        self.folder = folder
        self._app = f"livespan:{log_id}"
        self._disk = disk
        self._delta = delta
        self._seals = seals
        # Whoever died here may not have come to sync its last commit.
        self._synced = delta.version() - 1
        self._known = -1
        self._left_ns = 0
        self._told: dict[str, LakeFile] = {}
        self.files: tuple[LakeFile, ...] = ()
        self.watermark = 0
        self.removed = RemovedFiles(folder, disk)
        self._take_over()

    def new_path(self, watermark: int) -> Path:
        """Return a fresh path for a file; the name says up to which `log_seq` it was written."""
        return self.folder / f"part-{watermark:020}-{random_hex(4)}.parquet"

    def paths_behind(self, file: LakeFile) -> dict[Role, Path]:
        """Return fresh paths, by role, for the files of a merge whose last source is `file`: they take that one's
        place in the order.
        """
        place = f"{place_of(file.path).partition('-')[0]}-{random_hex(4)}.parquet"
        return {role: file.path.with_name(f"{role}-{place}") for role in Role}

    def refresh(self) -> None:
        """See what was committed since, and make it durable.

        Raises:
            Unavailable: the table's log cannot be read or synced.
        """
        try:
            if not self._is_as_left():
                self._delta.update_incremental()
                self._take_over()
        except (DeltaError, OSError) as error:
            raise self._unavailable(error) from error

    def commit(self, file: LakeFile, rows: int, watermark: int, now_ns: int, *, late: bool = False) -> None:
        """Add a file, which was synced, and return when the commit lasts.

        Args:
            file: lies in the table's folder.
            rows: how many it has.
            watermark: the `log_seq` up to which this log's records are accounted for now.
            now_ns: wall time, for the commit.
            late: the file holds nothing above the table's watermark, which may then stay as it is.

        Raises:
            Conflict: the watermark does not rise: what the file holds may be there already.
            Unavailable: the commit failed; whether it counts is known after `refresh`.
        """
        self.refresh()
        if watermark < self.watermark or (watermark == self.watermark and not late):
            raise Conflict(
                f"the table is published up to record {self.watermark}, so {watermark} would be published again",
                subject=str(self.folder),
                hint="Two collectors share a lake, or the log was replaced by an older copy of itself.",
            )
        file = replace(file, rows=rows)
        try:
            addition = Addition(file.path, _stats(file), self._app, watermark, now_ns)
            write_addition(self.folder, self._known + 1, addition, self._disk)
            self._committed([file], frozenset(), watermark)
        except (DeltaError, OSError) as error:
            raise self._unavailable(error) from error

    def replace(self, sources: Sequence[LakeFile], files: Sequence[LakeFile], now_ns: int) -> None:
        """Put merged files, which were synced, in the place of their sources, and return when that lasts.

        Args:
            sources: live files, whose rows are those of `files`; they stay on disk for a while.
            files: lie in the table's folder; their `rows` are known.
            now_ns: wall time, for the commit.

        Raises:
            Unavailable: the commit failed; whether it counts is known after `refresh`.
        """
        self.refresh()
        paths = [source.path for source in sources]
        try:
            replacement = Replacement(paths, [(file.path, _stats(file)) for file in files], now_ns)
            write_replacement(self.folder, self._known + 1, replacement, self._disk)
            self._committed(files, frozenset(paths), self.watermark)
        except (DeltaError, OSError) as error:
            raise self._unavailable(error) from error
        self.removed.add(paths, now_ns)

    def _committed(self, new: Sequence[LakeFile], gone: frozenset[Path], watermark: int) -> None:
        """Let a commit of our own count, which lasts already."""
        version = self._synced = self._known + 1
        self._told = {name: file for name, file in self._told.items() if file.path not in gone}
        self._told |= {file.path.name: file for file in new}
        self._stand(version, self._told.values(), watermark)
        if version % _CHECKPOINT_EVERY == 0:
            self._checkpoint()

    def holds(self, path: Path) -> bool:
        """Return whether a file is in the table."""
        return any(file.path == path for file in self.files)

    def _take_over(self) -> None:
        """Sync the commits that were not yet, then let them count."""
        version = self._delta.version()
        for each in range(self._synced + 1, version + 1):
            path = commit_path(self.folder, each)
            if path.exists():  # an old one may have been cleaned away behind a checkpoint
                sync_new_file(path, self._disk)
        self._synced = version
        if version == self._known:
            self._left_ns = self._changed_ns()
            return
        self._stand(version, self._live_files(), self._delta.transaction_version(self._app) or 0)

    def _stand(self, version: int, live: Iterable[LakeFile], watermark: int) -> None:
        files = sorted(live, key=lambda file: sort_key(file.path))
        self._seal(version, files)
        self.files = tuple([replace(file, sealed=self._seals.files.get(file.path.name)) for file in files])
        self.watermark = watermark
        self._known = version
        self._left_ns = self._changed_ns()

    def _is_as_left(self) -> bool:
        """Return whether nobody has committed since we last looked. The version that is to be ours is looked for as
        well: two changes may fall on one tick of the file system's clock.
        """
        return self._changed_ns() == self._left_ns and not commit_path(self.folder, self._known + 1).exists()

    def _changed_ns(self) -> int:
        return (self.folder / LOG_FOLDER).stat().st_mtime_ns

    def _seal(self, version: int, files: Sequence[LakeFile]) -> None:
        """Seal the commits since the last one that was; of a table that had no seals, its last one with all files."""
        for each in range(max(self._known, version - 1) + 1, version + 1):
            if each not in self._seals and commit_path(self.folder, each).exists():
                self._seals.add(each, [file.path for file in files])

    def _live_files(self) -> list[LakeFile]:
        paths = [Path(uri) for uri in self._delta.file_uris()]
        if any(path.name not in self._told for path in paths):
            for action in add_actions(self._delta):
                path = self.folder / action["path"]
                known = LakeFile(path, action.get("min.run_id"), action.get("max.run_id"), action.get("num_records"))
                self._told.setdefault(path.name, known)
        live = {path.name for path in paths}
        self._told = {name: file for name, file in self._told.items() if name in live}
        return [self._told[path.name] for path in paths]

    def _checkpoint(self) -> None:
        """Write the table's own checkpoint, so that opening it does not read every commit since the first."""
        self._delta.update_incremental()
        self._take_over()
        self._delta.create_checkpoint()
        log = self.folder / LOG_FOLDER
        for path in (log / f"{self._delta.version():020}.checkpoint.parquet", log / "_last_checkpoint"):
            sync_new_file(path, self._disk)
        self._seals.add(self._delta.version(), [file.path for file in self.files], base=True)
        self._delta.cleanup_metadata()
        self._left_ns = self._changed_ns()

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the table cannot be committed to or synced ({error})",
            subject=str(self.folder),
            hint="Look at the disk (df, dmesg). Publishing is tried again by itself; the log keeps what it has.",
        )


def _stats(file: LakeFile) -> str:
    """Return a file's statistics as Delta has them."""
    stats: dict[str, object] = {"numRecords": file.rows}
    if file.first_run is not None:
        stats |= {"minValues": {"run_id": file.first_run}, "maxValues": {"run_id": file.last_run}}
    return msgspec.json.encode(stats).decode()
