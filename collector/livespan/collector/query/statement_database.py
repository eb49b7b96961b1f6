"""The database in which users' statements run: the views over relations that we opened, and no file.

    database   made once, before a statement is known: views over relations without rows
    session    of one statement: a connection of its own, on which these relations are a snapshot's, and which
               can write nothing, so that no statement leaves anything behind for another

DuckDB binds a view's relations by name each time it is used. Making the views takes most of a small statement's time,
and so that has passed before.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from livespan.collector.arrow import ArrowTable, files_relation
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.collector.lake.views import view_statements
from livespan.collector.query.limits import QueryLimits

__all__ = ["DATABASE", "session", "statement_database"]

DATABASE: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # else a name in SQL may be a variable of ours
    "temp_directory": "",  # nothing spills into files: the memory limit is the limit
}
"""What every database that reads the lake is configured with."""


def statement_database(limits: QueryLimits) -> duckdb.DuckDBPyConnection:
    """Return a new database over nothing; the caller closes it."""
    connection = duckdb.connect(
        ":memory:",
        config={
            **DATABASE,
            "enable_external_access": "false",
            "memory_limit": f"{limits.memory_bytes}B",
            "threads": str(limits.threads),
        },
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    _register(connection, (), (), NODES.empty_table())
    nodes = "SELECT * FROM published_nodes UNION ALL BY NAME SELECT * FROM unpublished_nodes"
    for statement in view_statements(nodes, "SELECT * FROM published_content"):
        connection.execute(statement)
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def session(
    database: duckdb.DuckDBPyConnection, nodes: Sequence[Path], content: Sequence[Path], hot: ArrowTable
) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a snapshot for one statement."""
    with database.cursor() as connection:
        _register(connection, nodes, content, hot)
        connection.execute("BEGIN TRANSACTION READ ONLY")
        yield connection


def _register(
    connection: duckdb.DuckDBPyConnection, nodes: Sequence[Path], content: Sequence[Path], hot: ArrowTable
) -> None:
    connection.register("published_nodes", files_relation(nodes, NODES))
    connection.register("published_content", files_relation(content, CONTENT))
    connection.register("unpublished_nodes", hot)
