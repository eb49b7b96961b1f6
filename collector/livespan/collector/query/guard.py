"""Which SQL a user may run: one statement that reads. DuckDB's own parser decides, never a pattern over the text.

The guard is the first of three walls. The second is the connection itself (statement_database.py), which reaches the
lake's folders, has no settings to change and nothing of worth to write to; the third is what the process has given up
(confinement.py): no file can be written.
"""

from __future__ import annotations

from typing import Final

import duckdb

from livespan.collector.query.sources import check_sources
from livespan.proto.errors import InvalidInput

__all__ = ["VIEWS_HINT", "read_only"]

VIEWS_HINT: Final = (
    "The views are records, nodes, runs, effects, llm_calls, checkpoints and content; `DESCRIBE nodes` lists columns."
)
_ONLY_READS: Final = "Only SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN of these may be run."
_READS: Final = frozenset({"SELECT", "EXPLAIN"})


def read_only(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the one statement that `sql` holds, if it only reads.

    Raises:
        InvalidInput: it does not parse, holds no statement or several, is something else than a read, or reads
            something else than the views.
    """
    statement = _only_statement(connection, sql)
    read = statement
    if statement.type.name == "EXPLAIN":
        # EXPLAIN ANALYZE runs what it explains, so that must be a read as well.
        read = _only_statement(connection, _explained(statement.query))
    kind = read.type.name
    if kind not in _READS:
        raise InvalidInput(f"a {kind} statement is not a read", subject="sql", hint=_ONLY_READS)
    check_sources(connection, read.query)
    return statement.query


def _only_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise InvalidInput(str(error).strip(), subject="sql", hint=VIEWS_HINT) from error
    if not statements:
        raise InvalidInput("there is no statement", subject="sql", hint=_ONLY_READS)
    if len(statements) > 1:
        raise InvalidInput(f"there are {len(statements)} statements", subject="sql", hint="Give one at a time.")
    return statements[0]


def _explained(sql: str) -> str:
    """Return what an EXPLAIN explains: the text behind `EXPLAIN [ANALYZE] [(options)]`."""
    data = sql.encode()  # the tokens' offsets count bytes
    tokens = [start for start, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    words = [data[start:].decode() for start in tokens[1:]]
    position = 0
    if position < len(words) and words[position][:7].upper() == "ANALYZE":
        position += 1
    if position < len(words) and words[position].startswith("("):
        if not _is_options(words, position):
            return words[position]
        while position < len(words) and not words[position].startswith(")"):
            position += 1
        position += 1
    return words[position] if position < len(words) else ""


def _is_options(words: list[str], position: int) -> bool:
    """Tell `EXPLAIN (ANALYZE, FORMAT json) ...` from `EXPLAIN (SELECT ...)`."""
    inside = words[position + 1].upper() if position + 1 < len(words) else ""
    return inside.startswith(("ANALYZE", "FORMAT"))
