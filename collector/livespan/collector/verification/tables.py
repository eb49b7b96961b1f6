"""One Delta table of the lake: its log, the files that it names, and every page of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from livespan.collector.arrow import ArrowTable, row_groups
from livespan.collector.difference import first_difference
from livespan.collector.lake.add_actions import add_actions
from livespan.collector.lake.delta_folder import LOG_FOLDER, names_a_checkpoint
from livespan.collector.lake.file_digest import file_digest
from livespan.collector.lake.seals import SEALS_FOLDER, Sealed, read_seal
from livespan.collector.verification.file_reader import Broken, FileReader
from livespan.proto.verified import Fault

__all__ = ["TableReading", "open_state", "read_files", "read_table_log"]

_COPY: Final = "Put it back from a copy of the home; what the log still holds is published again by itself."
_LAKE: Final = "Restore the lake from a copy, or move its folder away: what the log still holds is published again."


@dataclass(slots=True)
class TableReading:
    """What was found of one table. `watermark` is this log's, 0 where it has none; `files` are those of the last
    commit, with the rows that the table says they have (None = it does not).
    """

    folder: Path
    opened: bool = False
    version: int = -1
    watermark: int = 0
    files: dict[Path, int | None] = field(default_factory=dict[Path, int | None])
    rows: int = 0
    commits: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    notes: list[str] = field(default_factory=list[str])
    sealed: dict[str, Sealed] = field(default_factory=dict[str, Sealed])


def read_table_log(folder: Path, log_id: str, reader: FileReader) -> TableReading:
    """Read a table's log: each commit, the checkpoints, and what they amount to."""
    reading = TableReading(folder)
    log = folder / LOG_FOLDER
    if not log.is_dir():
        reading.notes.append("There is no table yet.")
        return reading
    commits = sorted(path for path in log.glob("*.json") if path.stem.isdigit())
    reading.commits = len(commits)
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    for path in commits:
        _check_lines(path, reading)
    pointer = log / "_last_checkpoint"
    if pointer.exists():
        _check_pointer(pointer, reading)
    for path in checkpoints:
        for broken in reader.read(path):
            hint = "Remove it while no collector runs: the commits say the same, as long as they are all there."
            what = f"The table's checkpoint is damaged: {broken.failure}."
            reading.faults.append(Fault(str(path), broken.offset, what, hint))
    _check_versions([int(path.stem) for path in commits], [int(path.name[:20]) for path in checkpoints], reading)
    _check_seals(reading)
    if not reading.faults:
        open_state(reading, log_id)
    return reading


def open_state(reading: TableReading, log_id: str) -> None:
    """Take in what the table's log amounts to: version, watermark, files."""
    try:
        delta = DeltaTable(reading.folder)
        reading.version = delta.version()
        reading.watermark = delta.transaction_version(f"livespan:{log_id}") or 0
        reading.files = {reading.folder / action["path"]: action.get("num_records") for action in add_actions(delta)}
        sizes = {reading.folder / action["path"]: action.get("size_bytes") for action in add_actions(delta)}
    except DeltaError as error:
        what = f"The table cannot be opened: {str(error).partition(chr(10))[0]}."
        reading.faults.append(Fault(str(reading.folder / LOG_FOLDER), None, what, _LAKE))
        return
    reading.opened = True
    for path, size in sizes.items():
        if path.exists() and size is not None and path.stat().st_size != size:
            what = f"It has {path.stat().st_size} bytes, and the table's log says {size}."
            reading.faults.append(Fault(str(path), None, what, _COPY))


def read_files(
    reading: TableReading, reader: FileReader, columns: tuple[str, ...], take: Callable[[Path, int, ArrowTable], object]
) -> None:
    """Read every file of the table whole, and hand out these columns of the sound ones: path, offset of the row group,
    its rows.
    """
    for path, promised in sorted(reading.files.items()):
        broken = reader.read(path)
        sealed = reading.sealed.get(path.name)
        if not broken and sealed is not None and file_digest(path) != sealed.digest:
            what = "it does not have the digest it was sealed with: a bit changed outside of the pages' data"
            broken = [Broken(what, 0)]
        if broken:
            reading.faults += [Fault(str(path), one.offset, f"It is damaged: {one.failure}.", _COPY) for one in broken]
            continue
        rows = 0
        for group in row_groups(path, columns):
            if group.rows is not None:
                rows += group.rows.num_rows
                take(path, group.offset, group.rows)
        reading.rows += rows
        if promised is not None and rows != promised:
            what = f"It has {rows} rows, and the table's log says {promised}."
            reading.faults.append(Fault(str(path), None, what, _COPY))
    strangers = [path for path in reading.folder.glob("*.parquet") if path not in reading.files]
    if strangers:
        reading.notes.append(
            f"{len(strangers)} Parquet files in {reading.folder} are not in the last commit: a publication under way, "
            "or cut short (the next start removes them), or what a compaction merged (removed after an hour)."
        )


def _check_pointer(path: Path, reading: TableReading) -> None:
    """Report a pointer to the last checkpoint that names none; what it is about lies in the commits, too."""
    with suppress(FileNotFoundError):
        if not names_a_checkpoint(path):
            what = "It names no checkpoint of the table."
            reading.faults.append(Fault(str(path), 0, what, "The next start puts it back, or removes it."))


def _check_lines(path: Path, reading: TableReading) -> None:
    """Report the first line that is no JSON, with its offset; an empty file has none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        if path.exists():
            reading.faults.append(Fault(str(path), None, f"It cannot be read: {error}.", _LAKE))
        return
    offset = 0
    for line in data.splitlines(keepends=True) or [b""]:
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"The line that begins here is no JSON: {error}."
            hint = _LAKE
            if path.stem.isdigit():
                hint = "Torn by a power cut, the newest commit is removed at the next start. Else: " + _LAKE
            reading.faults.append(Fault(str(path), offset, what, hint))
            return
        offset += len(line)


def _check_seals(reading: TableReading) -> None:
    """Report seals that are damaged, and what they sealed of the table's log and is not so now."""
    for path in sorted((reading.folder / SEALS_FOLDER).glob("*.seal")):
        try:
            seal = read_seal(path)
        except FileNotFoundError:
            continue  # a newer checkpoint stands for it
        if seal is None:
            what = "This seal does not have its checksum."
            reading.faults.append(Fault(str(path), 0, what, "It is made anew at the next start."))
            continue
        reading.sealed.update(seal.files)
        for name, wanted in seal.log.items():
            _check_sealed(reading.folder / LOG_FOLDER / name, wanted, reading)


def _check_sealed(path: Path, wanted: bytes, reading: TableReading) -> None:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    told = {fault.file for fault in reading.faults}
    if found == wanted or path.name == "_last_checkpoint" or str(path) in told:
        return  # the pointer moves on with each checkpoint, whoever makes it; its lines are checked above
    at = first_difference(found, wanted)
    what = "From here on it is not what was sealed when it was committed."
    reading.faults.append(Fault(str(path), at, what, "It is put back from its seal at the next start."))


def _check_versions(commits: list[int], checkpoints: list[int], reading: TableReading) -> None:
    """Report commits that are missing where no checkpoint stands for them."""
    log = reading.folder / LOG_FOLDER
    if not commits and not checkpoints:
        reading.faults.append(Fault(str(log), None, "The table has a log folder and no commit.", _LAKE))
        return
    newest_checkpoint = max(checkpoints, default=-1)
    needed = [version for version in commits if version > newest_checkpoint]
    first = newest_checkpoint + 1
    for version in range(first, max(needed, default=first - 1) + 1):
        if version not in needed:
            path = log / f"{version:020}.json"
            reading.faults.append(Fault(str(path), None, "This commit is missing, and later ones follow.", _LAKE))
