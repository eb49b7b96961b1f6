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

from livespan.collector.verification.file_reader import FileReader
from livespan.collector.verification.log import LogReading, read_log
from livespan.collector.verification.rows import ContentCheck
from livespan.collector.verification.tables import TableReading, open_state, read_table_log
from livespan.collector.verification.views import verify_views
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
    yield verify_views(home, looks=_LOOKS if served else 0, pause_s=_PAUSE_S)


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


def _log_counts(log: LogReading) -> str:
    span = f", log_seq {log.first_seq} to {log.end_seq - 1}" if log.first_seq else ""
    return f"{log.segments} segments, {log.frames} frames, {log.records} records{span}"


def _table_counts(table: TableReading, what: str) -> str:
    return (
        f"{table.commits} commits, version {table.version}, {len(table.files)} files, {table.rows} {what}, "
        f"watermark {table.watermark}"
    )
