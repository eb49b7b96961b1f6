"""Our own reads of published files by DuckDB: the rows of one run, started rows by node, content by digest, threads.

Conditions are literals (literals.py), so that bloom filters and row-group bounds prune;
files that cannot hold the run are not opened.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

import duckdb

from livespan.collector.lake.literals import text_literal
from livespan.collector.lake.read_back import READ_COLUMNS
from livespan.collector.lake.schema import CONTENT_COLUMNS, NODE_COLUMNS
from livespan.collector.lake.sound import SoundFiles
from livespan.collector.lake.table import LakeFile
from livespan.collector.lake.views import relation
from livespan.proto.errors import Damaged

__all__ = ["LakeReader", "Row"]

Row = dict[str, object]
_COLUMNS: Final = ", ".join(READ_COLUMNS)
_AT_ONCE: Final = 2000
_ERRORS: Final = (duckdb.Error, ValueError, OverflowError)
"""What a read of a damaged file raises; the last two are of values that Python does not take."""


class LakeReader:
    """Thread-safe. Whoever made it closes it."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._connection = self._opened()
        self.sound = SoundFiles()

    def run_rows(self, files: Sequence[LakeFile], project: str, run_id: str, generation: int | None) -> list[Row]:
        """Return the rows of `nodes` of one run, in log order; of its newest generation where none is given.

        Raises:
            Damaged: a file cannot be read.
        """
        which = "" if generation is None else f" AND generation = {generation}"
        newest = "" if generation is not None else " QUALIFY generation = max(generation) OVER ()"
        where = f"project = {text_literal(project)} AND run_id = {text_literal(run_id)}{which}{newest} ORDER BY log_seq"
        mine = [file for file in files if file.may_hold(run_id)]
        self.sound.check(mine, run_id)
        return self._nodes([file for file in mine if self.sound.is_sound(file)], where)

    def started_rows(self, files: Sequence[LakeFile], nodes: Iterable[tuple[bytes, bytes]]) -> list[Row]:
        """Return the started rows of nodes, given as (trace id, node id). A damaged file is passed over, so that what
        others hold can still be published.
        """
        files = [file for file in files if self.sound.is_sound(file)]
        wanted = sorted({(trace.hex(), node.hex()) for trace, node in nodes})
        rows: list[Row] = []
        for first in range(0, len(wanted), _AT_ONCE):
            part = wanted[first : first + _AT_ONCE]
            listed = ", ".join([text_literal(node) for _, node in part])
            rows += self._nodes(files, f"kind = 'started' AND node_id IN ({listed})")
        pairs = set(wanted)
        return [row for row in rows if (row["trace_id"], row["node_id"]) in pairs]

    def published_starts(
        self, files: Sequence[LakeFile], log_id: str, nodes: Iterable[tuple[bytes, bytes]]
    ) -> set[int]:
        """Return the `log_seq` of the started rows that are published of these nodes and came from this log."""
        found = {row["log_seq"] for row in self.started_rows(files, nodes) if row["log_id"] == log_id}
        return {seq for seq in found if isinstance(seq, int)}

    def content(self, files: Sequence[LakeFile], run_id: str, digest: str) -> bytes | None:
        """Return stored bytes by their digest, None where the run has none such. They are not checked here."""
        rows = self._content(files, run_id, "bytes", f"digest = {text_literal(digest)}")
        return _bytes(rows[0][0]) if rows else None

    def content_at(self, files: Sequence[LakeFile], run_id: str, log_seq: int, name: str) -> tuple[str, bytes] | None:
        """Return (digest, bytes) of what one record left, by attribute name."""
        rows = self._content(files, run_id, "digest, bytes", f"log_seq = {log_seq} AND name = {text_literal(name)}")
        return (str(rows[0][0]), _bytes(rows[0][1])) if rows else None

    def states(
        self, files: Sequence[LakeFile], run_id: str, first_seq: int, last_seq: int
    ) -> dict[tuple[int, str], bytes]:
        """Return the stored states of a run's records between two of them, by `log_seq` and digest; not checked here.

        Raises:
            Damaged: a file cannot be read.
        """
        mine = [file for file in files if file.may_hold(run_id)]
        where = f"run_id = {text_literal(run_id)} AND kind = 'state' AND log_seq BETWEEN {first_seq} AND {last_seq}"
        source = relation([file.path for file in mine], CONTENT_COLUMNS)
        rows = self._fetch(f"SELECT log_seq, digest, bytes FROM ({source}) WHERE {where}")  # noqa: S608  # quoted
        return {(seq, str(digest)): _bytes(data) for seq, digest, data in rows if isinstance(seq, int)}

    def thread_runs(self, files: Sequence[LakeFile], project: str, langgraph_runs: Collection[str]) -> set[str]:
        """Return the run ids of a project's threads, of those that have a checkpoint of these LangGraph runs if any."""
        sound = [file.path for file in files if self.sound.is_sound(file)]
        if not sound:
            return set()
        where = f"kind = 'thread' AND project = {text_literal(project)}"
        if langgraph_runs:
            listed = ", ".join([text_literal(run) for run in langgraph_runs])
            where += f" AND json_extract_string(metadata, '$.run_id') IN ({listed})"
        source = relation(sound, NODE_COLUMNS)
        return {str(row[0]) for row in self._fetch(f"SELECT DISTINCT run_id FROM ({source}) WHERE {where}")}  # noqa: S608  # quoted

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _nodes(self, files: Sequence[LakeFile], where: str) -> list[Row]:
        if not files:
            return []
        source = relation([file.path for file in files], NODE_COLUMNS)
        rows = self._fetch(f"SELECT {_COLUMNS} FROM ({source}) WHERE {where}")  # noqa: S608  # as above
        return [dict(zip(READ_COLUMNS, row, strict=True)) for row in rows]

    def _content(self, files: Sequence[LakeFile], run_id: str, columns: str, where: str) -> list[tuple[object, ...]]:
        """Return the first row of `content` that fits; a file that cannot be read hides nothing that another holds."""
        mine = [file for file in files if file.may_hold(run_id)]
        try:
            return self._first(mine, columns, f"run_id = {text_literal(run_id)} AND {where}")
        except Damaged as damaged:
            for file in mine:
                with suppress(Damaged):
                    rows = self._first([file], columns, f"run_id = {text_literal(run_id)} AND {where}")
                    if rows:
                        return rows
            raise damaged from None

    def _first(self, files: Sequence[LakeFile], columns: str, where: str) -> list[tuple[object, ...]]:
        source = relation([file.path for file in files], CONTENT_COLUMNS)
        return self._fetch(f"SELECT {columns} FROM ({source}) WHERE {where} LIMIT 1")  # noqa: S608  # quoted

    def _fetch(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement. What a damaged file leads to DuckDB may call an internal error, and it
        answers nothing after one: whoever meets it opens another database, and who was beside it asks there again.
        """
        connection = self._connection
        try:
            return _rows(connection, sql)
        except duckdb.FatalException:
            connection = self._renewed(connection)
        except duckdb.InternalException as error:
            self._renewed(connection)
            raise _damaged(error) from error
        except _ERRORS as error:
            raise _damaged(error) from error
        try:
            return _rows(connection, sql)
        except _ERRORS as error:
            raise _damaged(error) from error

    def _renewed(self, broken: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """Return the connection that stands in for a broken one; who comes first opens it."""
        with self._lock:
            if self._connection is broken:
                self._connection = self._opened()
            return self._connection

    def _opened(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config={"threads": str(self._threads), "memory_limit": "1GB"})
        # Files never change once they are named, so what was read of their footers holds.
        connection.execute("SET parquet_metadata_cache = true")
        return connection


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def _damaged(error: Exception) -> Damaged:
    return Damaged(
        f"a file of the lake cannot be read: {str(error).strip().partition(chr(10))[0]}",
        subject="lake",
        hint="Run `livespan verify`; restore the file from a copy.",
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
