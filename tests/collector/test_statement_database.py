"""The second wall around a user's SQL: what a session can reach and change whatever the guard lets through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from livespan.collector.lake.schema import NODES
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.statement_database import session, statement_database

WRITES = [
    "CREATE OR REPLACE VIEW nodes AS SELECT 1",
    "CREATE TABLE left_behind (a INT)",
    "CREATE MACRO f(a) AS a",
    "DROP VIEW nodes",
    "SET enable_external_access = true",
    "SET threads = 1",
    "FROM enable_logging()",
    "INSTALL httpfs",
]


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with statement_database(QueryLimits(), ()) as opened:
        yield opened


def run(database: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    with session(database, (), (), (), NODES.empty_table()) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("sql", WRITES)
def test_a_session_changes_nothing_for_the_next(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    views = run(database, "SHOW TABLES")
    with pytest.raises(duckdb.Error):
        run(database, sql)
    assert run(database, "SHOW TABLES") == views
    assert run(database, "SELECT count(*) FROM nodes") == [(0,)]


@pytest.mark.parametrize("sql", ["COPY nodes TO '{path}/out.csv'", "ATTACH '{path}/x.db'", "EXPORT DATABASE '{path}'"])
def test_a_session_writes_no_file(database: duckdb.DuckDBPyConnection, sql: str, tmp_path: Path) -> None:
    with pytest.raises(duckdb.Error):
        run(database, sql.format(path=tmp_path))
    assert os.listdir(tmp_path) == []


def test_what_is_temporary_ends_with_its_session(database: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):
        run(database, "CREATE TEMP TABLE left_behind (a INT)")
    with pytest.raises(duckdb.CatalogException):
        run(database, "FROM left_behind")


def test_times_are_utc_in_every_session(database: duckdb.DuckDBPyConnection) -> None:
    assert run(database, "SELECT current_setting('TimeZone')") == [("UTC",)]
