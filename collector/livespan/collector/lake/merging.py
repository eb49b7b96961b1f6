"""A process that merges published files of a table: `python -m livespan.collector.lake.merging`.

    Merge (a line of JSON on standard input) ─▶ each file against its checksum ─▶ read, sort ─▶ write ─▶ Merged
                                                └─ the number of the source that is looked at, a line each
    standard input ends: so does the process, wherever it is

In a process of its own, because what is read may be damaged: a bad footer can end its reader by SIGABRT, which must
not end the collector; and because a sort takes memory and processor that are given back whole. Memory is bounded
whatever is merged: `nodes` is sorted by DuckDB, which spills, into a file a role (plain_runs.py); `content`, whose
rows may be of any size, is taken row group by row group as it is, so its files are sorted within row groups alone.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from livespan.collector.arrow import arrow_schema, gathered, parquet_extent, verified_rows, verified_stream
from livespan.collector.lake.file_digest import file_digest
from livespan.collector.lake.file_names import Role
from livespan.collector.lake.parquet import content_file, nodes_file
from livespan.collector.lake.plain_runs import DECIDING, decide, sorted_rows
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.proto.scheduling import give_way

__all__ = ["Merge", "Merged", "MergedFile", "merge_files"]

_GROUP_ROWS: Final = 16384
_CONTENT_ROWS: Final = 256
_GROUP_BYTES: Final = 32 * 1024 * 1024
_BATCH_ROWS: Final = 2048
_MEMORY: Final = "512MB"
_NICE: Final = 15
_CROWDED: Final = 1.5
"""Load average, a processor."""


class Merge(msgspec.Struct, frozen=True):
    """What to merge.

    Attributes:
        table: `nodes` or `content`.
        sources: paths, in the order of their watermarks.
        targets: the paths of the new files by role; they are not synced here.
        digests: XXH3-64 of each source as it was published, None where that is not known.
        spill: a folder for what does not fit into memory.
    """

    table: str
    sources: list[str]
    digests: list[int | None]
    targets: dict[Role, str]
    spill: str


class MergedFile(msgspec.Struct, frozen=True):
    """A file that was written: its rows, and the bounds of their run ids, None where they are not known."""

    path: str
    rows: int
    first_run: str | None
    last_run: str | None


class Merged(msgspec.Struct, frozen=True):
    """What was written: those of the targets that got rows. Or why nothing was: `failure`, and the source that cannot
    be read, "" where it is none of them.
    """

    files: tuple[MergedFile, ...] = ()
    failure: str = ""
    damaged: str = ""


def merge_files(merge: Merge) -> Merged:
    """Merge, and return what was written, or why nothing was."""
    targets = {role: Path(target) for role, target in merge.targets.items()}
    sources = [Path(source) for source in merge.sources]
    for number, source in enumerate(sources):
        _say(number)  # before it is read: its footer may end this process
        digest = merge.digests[number]
        if digest is not None and file_digest(source) != digest:
            return Merged(failure="it is not as it was published", damaged=str(source))
        # Bytes that are as they were published are not read twice: unpacking them is a third of a merge.
        failure = _unreadable(source, merge.table) if digest is None else ""
        if failure:
            return Merged(failure=failure, damaged=str(source))
    _say(len(sources))
    try:
        if merge.table == "nodes":
            _merge_nodes(sources, targets, merge.spill)
        else:
            _merge_content(sources, targets[Role.PART])
    except Exception:
        for source in sources:
            failure = _unreadable(source, merge.table)
            if failure:
                return Merged(failure=failure, damaged=str(source))
        raise
    written = [path for path in targets.values() if path.exists()]
    return Merged(tuple([MergedFile(str(path), *parquet_extent(path, "run_id")) for path in written]))


def _unreadable(source: Path, table: str) -> str:
    """Read a file page by page against their checksums, and return why it cannot be; "" where it can."""
    try:
        for _ in verified_rows(source, NODES if table == "nodes" else CONTENT):
            pass
    except Exception as error:  # noqa: BLE001  # what damaged metadata leads to has no bounds
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def _merge_content(sources: list[Path], target: Path) -> None:
    with closing(content_file(target)) as file:
        for source in sources:
            for rows in verified_rows(source, CONTENT):
                file.write_table(rows, row_group_size=_CONTENT_ROWS)


def _merge_nodes(sources: list[Path], targets: dict[Role, Path], spill: str) -> None:
    with duckdb.connect(
        ":memory:", config={"threads": "1", "memory_limit": _MEMORY, "temp_directory": spill}
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        decide(connection, verified_stream(sources, arrow_schema(DECIDING)))
        rows = sorted_rows(connection, verified_stream(sources, NODES), _BATCH_ROWS)
        for role, batches in groupby(rows, key=itemgetter(0)):
            with closing(nodes_file(targets[role], _GROUP_ROWS)) as file:
                for group in gathered((batch for _, batch in batches), NODES, _GROUP_ROWS, _GROUP_BYTES):
                    file.write_table(group, row_group_size=_GROUP_ROWS)


def _say(what: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    """End with whoever started this: nothing that is half written counts."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def _main() -> None:
    with suppress(OSError):
        if os.getloadavg()[0] < _CROWDED * (os.cpu_count() or 1):
            give_way()
        os.nice(_NICE)  # on a crowded machine one that gives way to all would never come to its end
        # A kernel short of memory ends this first, not the collector: fewer rows are merged at once then.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    merge = msgspec.json.decode(sys.stdin.buffer.readline(), type=Merge)
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        merged = merge_files(merge)
    except Exception as error:  # noqa: BLE001  # the process's border: told to who started it
        merged = Merged(failure=f"{type(error).__name__}: {error}".strip().partition("\n")[0])
    _say(merged)


if __name__ == "__main__":
    _main()
