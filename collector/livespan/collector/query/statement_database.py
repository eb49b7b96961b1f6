"""The database in which users' statements run: the views over the lake's files, and no other file.

    databases  two, made once, before a statement is known: the views over variables that hold lists of files, with
               windows for all snapshots, and without for those that are plain (lake/views.py)
    session    of one statement: a connection of its own, whose variables are a snapshot's files, and which can write
               nothing, so that no statement leaves anything behind for another

DuckDB looks at a variable each time a view is used. Making the views takes most of a small statement's time, and so
that has passed before; what was read of a file's footer is kept for the next statement. DuckDB opens files in the
lake's folders alone; that of these only a snapshot's are named is the guard's to see (guard.py), and that none is
written to the kernel's as well (confinement.py).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import duckdb

from livespan.collector.arrow import ArrowSchema, ArrowTable, parquet_descriptor
from livespan.collector.lake.file_names import Role
from livespan.collector.lake.literals import plain_path
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.collector.lake.views import Relations, by_role, is_plain, view_statements
from livespan.collector.query.limits import QueryLimits

__all__ = ["DATABASE", "StatementDatabases", "session", "statement_database"]

DATABASE: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # else a name in SQL may be a variable of ours
    "temp_directory": "",  # nothing spills into files: the memory limit is the limit
}
"""What every database that reads the lake is configured with."""
_SCHEMAS: Final[dict[str, ArrowSchema]] = {"plain": NODES, "beside": NODES, "part": NODES, "content": CONTENT}


class StatementDatabases:
    """Both databases; ended with the process."""

    def __init__(self, limits: QueryLimits, folders: Sequence[Path]) -> None:
        self._whole = statement_database(limits, folders)
        self._plain = statement_database(limits, folders, is_plain=True)

    @property
    def each(self) -> tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]:
        """The one for all snapshots, the one for plain ones."""
        return self._whole, self._plain

    def chosen(
        self, nodes: Sequence[Path], touched: Collection[str] | None, hot: ArrowTable
    ) -> duckdb.DuckDBPyConnection:
        """Return the one to open a `session` of for a snapshot."""
        return self._plain if is_plain(nodes, touched, hot.num_rows) else self._whole


def statement_database(
    limits: QueryLimits, folders: Sequence[Path], *, is_plain: bool = False
) -> duckdb.DuckDBPyConnection:
    """Return a new database over nothing, which may open the files in these folders; the caller closes it.

    Args:
        is_plain: its sessions will be of snapshots that are.
    """
    connection = duckdb.connect(
        ":memory:",
        config={**DATABASE, "memory_limit": f"{limits.memory_bytes}B", "threads": str(limits.threads)},
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    # Files never change once they are named, so what was read of their footers holds.
    connection.execute("SET GLOBAL parquet_metadata_cache = true")
    connection.execute("SET GLOBAL allowed_paths = $1", [[_no_rows(name) for name in _SCHEMAS]])
    connection.execute("SET GLOBAL allowed_directories = $1", [[f"{folder.absolute()}/" for folder in folders]])
    connection.execute("SET GLOBAL enable_external_access = false")
    _open(connection, (), (), (), NODES.empty_table())
    files = {
        name: f"SELECT * FROM read_parquet(getvariable('{name}'), union_by_name = true)"  # noqa: S608  # names of ours
        for name in _SCHEMAS
    }
    files["part"] += " UNION ALL BY NAME SELECT * FROM unpublished_nodes"
    over = Relations(**files, touched="SELECT unnest(getvariable('touched')) AS run_id")
    for statement in view_statements(over, is_plain=is_plain):
        connection.execute(statement)
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def session(
    database: duckdb.DuckDBPyConnection,
    nodes: Sequence[Path],
    content: Sequence[Path],
    touched: Collection[str] | None,
    hot: ArrowTable,
) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a snapshot for one statement; `touched` as in snapshots.Snapshot."""
    with database.cursor() as connection:
        _open(connection, nodes, content, touched, hot)
        connection.execute("BEGIN TRANSACTION READ ONLY")
        yield connection


def _open(
    connection: duckdb.DuckDBPyConnection,
    nodes: Sequence[Path],
    content: Sequence[Path],
    touched: Collection[str] | None,
    hot: ArrowTable,
) -> None:
    roles = by_role(nodes, touched)
    for name in _SCHEMAS:
        files = content if name == "content" else roles[Role(name)]
        connection.execute(f"SET VARIABLE {name} = $1", [[_no_rows(name), *map(plain_path, files)]])
    connection.execute("SET VARIABLE touched = $1::VARCHAR[]", [list(touched or ())])
    connection.register("unpublished_nodes", hot)


@cache
def _no_rows(name: str) -> str:
    """Return the path of a file with the columns of a relation and no rows, in memory: a list of files is never empty,
    and the columns of an older format's are all there.
    """
    return f"/proc/self/fd/{parquet_descriptor(_SCHEMAS[name].empty_table())}"
