"""Which rows of a merge go into which file: run once per merge of `nodes`, over the few columns that decide it.

A run is plain where the view `nodes` shows of its rows what they say as they stand: each row that it shows is a row of
the table, unchanged, and neither in doubt, in conflict nor an echo; and no record is there twice. So the view itself is
asked. Of a plain run, what it shows goes to `plain`, what it does not show to `beside`; all rows of others to `part`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import duckdb

from livespan.collector.arrow import told_apart
from livespan.collector.lake.file_names import Role
from livespan.collector.lake.schema import NODE_COLUMNS
from livespan.collector.lake.views import mixed_nodes, relation, windowed

__all__ = ["DECIDING", "decide", "sorted_rows"]

DECIDING: Final = {
    name: NODE_COLUMNS[name]
    for name in (
        *("project", "run_id", "generation", "kind", "node_id", "type", "status", "started_ns", "ended_ns"),
        *("input_tokens", "output_tokens", "model", "effect", "not_done", "call_key", "try_number", "framework"),
        *("state_size_bytes", "lease_event", "writer", "writer_seq", "log_id", "log_seq"),
    )
}
"""The columns that the view looks at, as long as nothing is settled."""
_RUN: Final = "project, run_id, generation"
_PLAIN: Final = f"""
CREATE TABLE plain_run AS
SELECT {_RUN} FROM deciding GROUP BY ALL
HAVING count(*) = count(DISTINCT log_seq) AND NOT bool_or(kind = 'settled')
    AND project IS NOT NULL AND run_id IS NOT NULL AND generation IS NOT NULL
EXCEPT
SELECT {_RUN} FROM (SELECT {_RUN}, count(*) AS rows FROM deciding GROUP BY ALL) AS every
JOIN (SELECT {_RUN}, count(*) AS once FROM mixed GROUP BY ALL) AS kept USING ({_RUN}) WHERE rows <> once
EXCEPT
SELECT {_RUN} FROM shown WHERE told"""  # noqa: S608  # nothing but names of columns
_STATEMENTS: Final = (
    f"CREATE VIEW filled AS SELECT * FROM deciding UNION ALL BY NAME {relation((), NODE_COLUMNS)}",  # noqa: S608
    f"CREATE VIEW mixed AS {windowed('FROM filled')}",
    f"CREATE TABLE shown AS SELECT {_RUN}, log_seq, in_doubt OR conflict OR echo AS told FROM ({mixed_nodes()})",  # noqa: S608
    _PLAIN,
    f"""
    CREATE TABLE hidden AS
    SELECT {_RUN}, log_seq FROM deciding SEMI JOIN plain_run USING ({_RUN})
    WHERE kind IN ('started', 'ended', 'attempt', 'foreign')
    EXCEPT SELECT {_RUN}, log_seq FROM shown""",  # noqa: S608
    "DROP TABLE shown",
)
_NUMBERED: Final = (Role.PLAIN, Role.BESIDE, Role.PART)
_ROLES: Final = f"""
    SELECT published.*, CASE
        WHEN plain_run.run_id IS NULL THEN 2
        WHEN hidden.run_id IS NULL AND kind IN ('started', 'ended', 'attempt', 'foreign') THEN 0
        ELSE 1
    END AS role
    FROM published LEFT JOIN plain_run USING ({_RUN}) LEFT JOIN hidden USING ({_RUN}, log_seq)
    ORDER BY role, project, run_id, log_seq"""  # noqa: S608  # as above


def decide(connection: duckdb.DuckDBPyConnection, rows: object) -> None:
    """Note in this database which rows go where.

    Args:
        rows: all rows of the merge as a stream of Arrow batches, with the columns of DECIDING.
    """
    connection.register("stream", rows)
    connection.execute("CREATE TABLE deciding AS SELECT * FROM stream")
    connection.unregister("stream")
    for statement in _STATEMENTS:
        connection.execute(statement)


def sorted_rows(connection: duckdb.DuckDBPyConnection, rows: object, batch_rows: int) -> Iterator[tuple[Role, object]]:
    """Yield the rows of the merge, whole now, with the file that they go to: role by role, sorted within each.

    Args:
        rows: as in `decide`, with all columns.
        batch_rows: how many at once, at most.
    """
    connection.register("published", rows)
    for number, batch in told_apart(connection.sql(_ROLES).to_arrow_reader(batch_rows), "role"):
        yield _NUMBERED[number], batch
