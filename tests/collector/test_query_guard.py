from __future__ import annotations

from collections.abc import Generator

import duckdb
import pytest

from livespan.collector.query.guard import read_only
from livespan.proto.errors import InvalidInput

READS = [
    "SELECT 1",
    "select 1;",
    "VALUES (1), (2)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "FROM range(3)",
    "DESCRIBE SELECT 1",
    "SHOW TABLES",
    "SUMMARIZE SELECT 1",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "explain (analyze, format json) select 1",
    "EXPLAIN (FORMAT json) SELECT ')'",
    "/* żółw 日本 */ EXPLAIN /* ; */ ANALYZE -- why\n SELECT 'ü; COPY'",
    "SELECT 'COPY x TO y; DROP TABLE z'",
]
OTHERS = [
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "COPY x FROM '/etc/passwd'",
    "ATTACH '/tmp/other.db'",
    "DETACH memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA version",
    "SET threads = 1",
    "RESET threads",
    "SET VARIABLE a = 1",
    "USE memory",
    "CREATE TABLE x (a INT)",
    "CREATE MACRO f(a) AS a",
    "CREATE VIEW v AS SELECT 1",
    "INSERT INTO x VALUES (1)",
    "DELETE FROM x",
    "UPDATE x SET a = 1",
    "DROP VIEW nodes",
    "CALL pragma_version()",
    "EXPORT DATABASE '/tmp/all'",
    "IMPORT DATABASE '/tmp/all'",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "EXPLAIN COPY (SELECT 1) TO '/tmp/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/out.csv'",
    "EXPLAIN (ANALYZE, FORMAT json) CREATE TABLE x (a INT)",
    "EXPLAIN /* SELECT 1 */ ANALYZE COPY (SELECT 1) TO ':memory:'",
]


@pytest.fixture
def connection() -> Generator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        yield opened


@pytest.mark.parametrize("sql", READS)
def test_what_reads_is_let_through(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert connection.execute(read_only(connection, sql)).fetchall() is not None


@pytest.mark.parametrize("sql", OTHERS)
def test_what_does_anything_else_is_refused(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(InvalidInput, match="is not a read") as refused:
        read_only(connection, sql)
    assert "SELECT" in refused.value.hint


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; COPY (SELECT 1) TO '/tmp/out.csv'"])
def test_a_second_statement_is_refused(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(InvalidInput, match="2 statements"):
        read_only(connection, sql)


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing", ";"])
def test_no_statement_is_refused(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(InvalidInput, match="no statement"):
        read_only(connection, sql)


def test_what_does_not_parse_is_refused_with_the_place(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InvalidInput, match="syntax error") as refused:
        read_only(connection, "SELEC 1")
    assert "DESCRIBE nodes" in refused.value.hint
