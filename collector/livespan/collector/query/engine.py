"""Reads by DuckDB: our own over the lake's files, and a user's SQL on a connection that can reach no file.

    snapshot ─┬─ files of `nodes`, `content`   published_nodes, published_content ─┐
              └─ records not in them yet       unpublished_nodes ──────────────────┴─ views (lake/views.py)

Each read has an in-memory database of its own over one snapshot: nothing that a statement leaves behind is seen by
another, and a read that runs away is interrupted alone. For our own reads DuckDB opens the files itself: 1.8 times as
fast on 50 files, and it uses their bloom filters. For a user's SQL they are Arrow datasets, opened by us, and DuckDB
has no access to any file: its `allowed_directories` would let COPY write over the lake.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

import duckdb

from livespan.collector.arrow import ArrowError, files_relation
from livespan.collector.lake.rows import node_table
from livespan.collector.lake.schema import CONTENT, CONTENT_COLUMNS, NODE_COLUMNS, NODES
from livespan.collector.lake.views import relation, view_statements
from livespan.collector.query.guard import VIEWS_HINT, read_only
from livespan.collector.query.values import JsonValue, json_value, unique_names
from livespan.proto.errors import Closed, Damaged, InvalidInput, LivespanError, Unavailable
from livespan.proto.record import Record

__all__ = ["Answer", "Lake", "QueryEngine", "QueryLimits", "Snapshot"]

_AND_HOT: Final = "UNION ALL BY NAME SELECT * FROM unpublished_nodes"
_BATCH_ROWS: Final = 4096
_INTERRUPT_S: Final = 0.05
_CONFIG: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # else a name in SQL may be a variable of ours
    "temp_directory": "",  # nothing spills into files: the memory limit is the limit
}


class Snapshot(Protocol):
    """What was recorded at one moment: each record is either in the files or in `hot`, never in both."""

    @property
    def nodes(self) -> Sequence[Path]: ...

    @property
    def content(self) -> Sequence[Path]: ...

    @property
    def hot(self) -> Sequence[Record]: ...


class Lake(Protocol):
    """Where snapshots come from; may be called from any thread."""

    def snapshot(self) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one read may cost.

    Attributes:
        memory_bytes: of DuckDB; a read that needs more is refused.
        timeout_s: from the start to the last row, the reader's own slowness included.
        max_rows: of an answer; what has more is refused there, never cut silently.
        threads: of DuckDB; the agent lives on the same machine.
    """

    memory_bytes: int = 512 * 1024 * 1024
    timeout_s: float = 30.0
    max_rows: int = 1_000_000
    threads: int = 2


class Answer:
    """The rows of one statement, which starts with the first fetch. Closed by its caller; any thread may `cancel`.

    Attributes:
        columns: their names, told apart; known after the first fetch.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        limits: QueryLimits,
        sql: str,
        parameters: Sequence[object] = (),
    ) -> None:
        self.columns: list[str] = []
        self._connection = connection
        self._limits = limits
        self._pending: tuple[str, Sequence[object]] | None = (sql, parameters)
        self._rows = 0
        self._expired = False
        self._cancelled = False
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._expire, name="livespan-sql-time", daemon=True)

    def fetch(self, rows: int) -> list[tuple[object, ...]]:
        """Return at most this many further rows, none at the end.

        Raises:
            InvalidInput: DuckDB refuses the statement, or it has too many rows.
            Unavailable: it exceeds a limit of time or memory.
            Damaged: a file of the lake cannot be read.
            Closed: it was cancelled.
        """
        if self._cancelled:
            raise Closed("the query was cancelled", subject="sql")
        with self._told():
            if self._pending is not None:
                self._start(*self._pending)
            fetched = cast("list[tuple[object, ...]]", self._connection.fetchmany(rows))
        self._rows += len(fetched)
        if self._rows > self._limits.max_rows:
            raise InvalidInput(
                f"the answer has more than {self._limits.max_rows:,} rows",
                subject="sql",
                hint="Add a LIMIT, or aggregate; `livespan serve --sql-rows` sets how many may be had.",
            )
        if self._expired:
            raise self._too_long()
        return fetched

    def fetch_json(self, rows: int) -> list[list[JsonValue]]:
        """Return at most this many further rows as JSON has them (values.py)."""
        return [[json_value(value) for value in row] for row in self.fetch(rows)]

    def cancel(self) -> None:
        """Make what runs end soon, and a later fetch at once, with Closed.

        A statement that DuckDB is about to start may miss it: who must be sure cancels again until the fetch returned.
        """
        self._cancelled = True
        self._connection.interrupt()

    def end(self) -> None:
        """Stop the clock; the connection stays open for a further statement."""
        self._ended.set()

    def close(self) -> None:
        """Stop the clock and close the connection; may be called twice."""
        self.end()
        self._connection.close()

    def _start(self, sql: str, parameters: Sequence[object]) -> None:
        self._pending = None
        self._watch.start()
        self._connection.execute(sql, list(parameters))
        self.columns = unique_names([str(column[0]) for column in self._connection.description])

    def _expire(self) -> None:
        """Interrupt what takes too long, again and again: DuckDB forgets an interrupt that comes between two steps."""
        wait_s = self._limits.timeout_s
        while not self._ended.wait(wait_s):
            self._expired = True
            self._connection.interrupt()
            wait_s = _INTERRUPT_S

    @contextmanager
    def _told(self) -> Generator[None]:
        """Turn DuckDB's errors into ours."""
        try:
            yield
        except duckdb.InterruptException as error:
            raise (self._too_long() if self._expired else Closed("the query was cancelled", subject="sql")) from error
        except duckdb.OutOfMemoryException as error:
            limit = self._limits.memory_bytes // 1024**2
            raise Unavailable(
                f"the query needs more memory than its {limit} MiB",
                subject="sql",
                hint="Narrow it by run_id, or aggregate less; `livespan serve --sql-memory-mb` sets how much.",
            ) from error
        except duckdb.PermissionException as error:
            raise InvalidInput(
                _first_line(error), subject="sql", hint=f"SQL reads what is recorded alone. {VIEWS_HINT}"
            ) from error
        except (duckdb.IOException, OSError) as error:
            raise Damaged(
                f"a file of the lake cannot be read: {_first_line(error)}",
                subject="lake",
                hint="Run `livespan doctor`.",
            ) from error
        except (duckdb.Error, ArrowError, OverflowError, ValueError) as error:
            raise InvalidInput(str(error).strip(), subject="sql", hint=VIEWS_HINT) from error

    def _too_long(self) -> LivespanError:
        return Unavailable(
            f"the query took longer than {self._limits.timeout_s:g} s",
            subject="sql",
            hint="Narrow it by run_id or started_at; `livespan serve --sql-timeout-s` sets how long it may take.",
        )


class QueryEngine:
    """Reads over the newest snapshot. Thread-safe: every read is its own; holds nothing open between reads."""

    def __init__(self, lake: Lake, limits: QueryLimits | None = None) -> None:
        self._lake = lake
        self._limits = limits or QueryLimits()

    @property
    def limits(self) -> QueryLimits:
        """What one read may cost."""
        return self._limits

    def select(self, sql: str) -> Answer:
        """Return the answer to a user's statement, to be closed by the caller.

        Raises:
            InvalidInput: it is not one statement that reads.
        """
        connection = self._connect(trusted=False)
        try:
            return Answer(connection, self._limits, read_only(connection, sql))
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def reading(self) -> Generator[Reading]:
        """Open one snapshot for statements of our own; all of them see the same."""
        connection = self._connect(trusted=True)
        try:
            yield Reading(connection, self._limits)
        finally:
            connection.close()

    def _connect(self, *, trusted: bool) -> duckdb.DuckDBPyConnection:
        snapshot = self._lake.snapshot()
        connection = duckdb.connect(
            ":memory:",
            config={
                **_CONFIG,
                "enable_external_access": "true" if trusted else "false",
                "memory_limit": f"{self._limits.memory_bytes}B",
                "threads": str(self._limits.threads),
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            if trusted:
                published_nodes = relation(snapshot.nodes, NODE_COLUMNS)
                content = relation(snapshot.content, CONTENT_COLUMNS)
            else:
                connection.register("published_nodes", files_relation(snapshot.nodes, NODES))
                connection.register("published_content", files_relation(snapshot.content, CONTENT))
                published_nodes, content = "SELECT * FROM published_nodes", "SELECT * FROM published_content"
            connection.register("unpublished_nodes", node_table(snapshot.hot))
            for statement in view_statements(f"{published_nodes} {_AND_HOT}", content):
                connection.execute(statement)
            connection.execute("SET lock_configuration = true")
        except BaseException:
            connection.close()
            raise
        return connection


class Reading:
    """Statements of our own over one snapshot."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, limits: QueryLimits) -> None:
        self._connection = connection
        self._limits = limits

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, object]]:
        """Return all rows of a statement, a column a key.

        Raises:
            Damaged: a file of the lake cannot be read. Unavailable: a limit is exceeded.
        """
        return list(self.each(sql, parameters))

    def each(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[dict[str, object]]:
        """Yield the rows of a statement, a batch in memory at a time; raises as `rows`."""
        answer = Answer(self._connection, self._limits, sql, parameters)
        try:
            while batch := answer.fetch(_BATCH_ROWS):
                for row in batch:
                    yield dict(zip(answer.columns, row, strict=True))
        finally:
            answer.end()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
