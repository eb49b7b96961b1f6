"""How log and lake fit together, and the report of both.

log    first ......... end            what lies below `first` must be published, so first <= watermark + 1
nodes  ........ watermark             what is published was acknowledged, so watermark < end
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from livespan.collector.lake.file_names import sort_key
from livespan.collector.lake.seals import sealed_files
from livespan.collector.lake.touched import TouchedRuns
from livespan.collector.lake.views import is_whole, relations, views_text
from livespan.collector.verification.file_reader import FileReader
from livespan.collector.verification.log import LogReading, read_log
from livespan.collector.verification.rows import ContentCheck
from livespan.collector.verification.tables import TableReading, open_state, read_table_log
from livespan.proto.home import Home
from livespan.proto.rendezvous import is_served
from livespan.proto.verified import Fault, Verified

__all__ = ["verify"]

_LOOKS: Final = 4
_PAUSE_S: Final = 0.1
_AS_ONE: Final = "Log and lake belong together: put both back from the same copy of the home."


def verify(home: Home) -> Iterator[Verified]:
    """Read the log and the lake of a home whole."""
    served = is_served(home)
    with FileReader() as reader:
        # In this order: what a node names was in `content` before, and what a table accounts for in the log.
        nodes, content = [_table(home.lake / name, home, reader, served=served) for name in ("nodes", "content")]
        log = read_log(home.log, served=served)
        later = TableReading(nodes.folder)
        if log.uuid:
            for table in (nodes, content):
                _check_watermark(table, log)
            if nodes.opened:
                open_state(later, log.uuid)  # again: what the log let go of since has been published since
                _check_start(later, log, home)
        yield Verified("log", _log_counts(log), tuple(log.faults), (*_beside(served), *log.notes))
        check = ContentCheck(reader)
        check.read_content(content)
        check.read_nodes(nodes)
    yield Verified("lake content", _table_counts(content, "values"), tuple(content.faults), tuple(content.notes))
    yield Verified("lake nodes", _table_counts(nodes, "rows"), tuple(nodes.faults), tuple(nodes.notes))
    yield _views(home, served=served)


def _beside(served: bool) -> list[str]:
    if not served:
        return []
    return ["A collector serves this home: what it wrote while this was read is not judged."]


def _table(folder: Path, home: Home, reader: FileReader, *, served: bool) -> TableReading:
    """Read a table's log; beside a collector, that may be in the middle of a commit, more than once."""
    log_id = _log_id(home)
    reading = read_table_log(folder, log_id, reader)
    for _ in range(_LOOKS if served else 0):
        if not reading.faults:
            break
        time.sleep(_PAUSE_S)
        reading = read_table_log(folder, log_id, reader)
    return reading


def _log_id(home: Home) -> str:
    """Return the log's uuid, "" where it cannot be told."""
    try:
        told = msgspec.json.decode((home.log / "format.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return str(told.get("uuid", ""))


def _check_watermark(table: TableReading, log: LogReading) -> None:
    if table.opened and table.watermark >= max(log.end_seq, 1):
        what = (
            f"The table holds this log's records up to {table.watermark}, and the log ends at {log.end_seq - 1}: the "
            "log has lost its end, or was replaced by an older copy of itself."
        )
        table.faults.append(Fault(str(table.folder), None, what, _AS_ONE))


def _check_start(nodes: TableReading, log: LogReading, home: Home) -> None:
    if nodes.opened and log.first_seq > nodes.watermark + 1:
        what = (
            f"The log begins at record {log.first_seq}, and the table ends at {nodes.watermark}: the records in "
            "between are in neither."
        )
        log.faults.append(Fault(str(home.log), None, what, _AS_ONE))


def _views(home: Home, *, served: bool) -> Verified:
    """Compare `views.sql` with what the publisher writes over the last commits."""
    path = home.lake / "views.sql"
    found = _views_fault(home, path)
    for _ in range(_LOOKS if served else 0):
        if not isinstance(found, Fault):
            break
        time.sleep(_PAUSE_S)
        found = _views_fault(home, path)
    faults, notes = ((found,), ()) if isinstance(found, Fault) else ((), (found,) if found else ())
    return Verified("lake views", "views.sql", faults, notes)


def _views_fault(home: Home, path: Path) -> Fault | str:
    """Return what is wrong with the views, or what is worth knowing of them, "" = nothing."""
    files: list[list[Path]] = []
    for name in ("nodes", "content"):
        reading = TableReading(home.lake / name)
        if (home.lake / name).is_dir():
            open_state(reading, "")
            if not reading.opened:
                return ""  # told of the table
        files.append(sorted((path.absolute() for path in reading.files), key=sort_key))
    if not any(files) and not path.exists():
        return ""
    hint = "It is written anew with the next publication: run anything in this home, or `livespan serve`."
    try:
        found = path.read_bytes()
    except OSError as error:
        return Fault(str(path), None, f"It cannot be read: {error.strerror}.", hint)
    sealed = sealed_files(home.lake / "nodes")
    plain = TouchedRuns().update([(each, sealed.get(each.name)) for each in files[0]])
    touched = plain.touched if plain.known else None
    wanted = views_text(files[0], files[1], touched).encode()
    if found == wanted:
        return ""
    over = relations(files[0], files[1], touched)
    tables = [table for table in (over.plain, over.beside, over.part, over.content) if "read_parquet" in table]
    if is_whole(found) and all(table.encode() in found for table in tables):
        return "Another version of Livespan wrote them, over the files of the last commits."
    where = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), len(found))
    what = "From here on it is not what belongs to the last commits: plain DuckDB would read something else."
    return Fault(str(path), where, what, hint)


def _log_counts(log: LogReading) -> str:
    span = f", log_seq {log.first_seq} to {log.end_seq - 1}" if log.first_seq else ""
    return f"{log.segments} segments, {log.frames} frames, {log.records} records{span}"


def _table_counts(table: TableReading, what: str) -> str:
    return (
        f"{table.commits} commits, version {table.version}, {len(table.files)} files, {table.rows} {what}, "
        f"watermark {table.watermark}"
    )
