"""The walls around a user's SQL, each without those before it: what is named, what DuckDB opens, what the kernel
lets be written.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests.collector.recorded import FixedLake, RunBuilder
from tests.collector.statements import rows_of

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.parquet import write_nodes
from livespan.collector.lake.rows import node_rows
from livespan.collector.lake.schema import NODES
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.statement_database import session, statement_database
from livespan.proto.errors import InvalidInput
from livespan.proto.record import Record

NAMED = [
    "SELECT * FROM read_parquet('{file}')",
    "SELECT count(*) FROM nodes, '{file}'",
    "SELECT (SELECT max(content) FROM read_text('{folder}/_delta_log/0.json'))",
    "WITH found AS (FROM glob('{folder}/*')) SELECT * FROM found",
    "SELECT * FROM nodes WHERE run_id IN (SELECT file FROM glob('{folder}/*'))",
    "DESCRIBE SELECT * FROM read_parquet('{file}')",
    "EXPLAIN ANALYZE SELECT * FROM read_parquet('{file}')",
    "SUMMARIZE FROM '{file}'",
    "FROM query('FROM read_parquet(''{file}'')')",
    "FROM query_table('{file}')",
    "FROM parquet_schema('{file}')",
    "FROM read_duckdb('{file}')",
    "FROM arrow_scan(1, 2, 3)",
]
OUTSIDE = ["FROM read_text('{path}')", "FROM read_csv('{path}')", "FROM glob('{path}')", "FROM '{path}'"]
CONFINED = """
import os, sys
from pathlib import Path
from livespan.collector.query.confinement import write_no_files
if not write_no_files():
    sys.exit(77)
from livespan.collector.lake.schema import NODES
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.statement_database import session, statement_database
file = Path(sys.argv[1])
done = []
def attempt(name, do):
    try:
        do()
    except Exception:
        return
    done.append(name)
database = statement_database(QueryLimits(), [file.parent])
for sql in (f"COPY (SELECT 1) TO '{file}' (FORMAT parquet)", f"COPY (SELECT 1) TO '{file.parent}/new.csv'",
            f"ATTACH '{file.parent}/new.db'", f"EXPORT DATABASE '{file.parent}/all'"):
    with session(database, [file], (), (), NODES.empty_table()) as connection:
        attempt(sql, lambda: connection.execute(sql))
attempt("truncate", lambda: os.truncate(file, 0))
attempt("open", lambda: os.close(os.open(file, os.O_RDWR)))
attempt("open and cut", lambda: os.close(os.open(file, os.O_RDONLY | os.O_TRUNC)))
attempt("unlink", lambda: os.unlink(file))
attempt("rename", lambda: os.rename(file, file.with_name("other")))
attempt("make", lambda: os.mkdir(file.parent / "made"))
with session(database, [file], (), (), NODES.empty_table()) as connection:
    assert connection.execute("SELECT count(*) > 0 FROM records").fetchall() == [(True,)]
print(done)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    records: list[Record] = []
    run = RunBuilder(records, "order-17")
    run.open_root()
    run.call("think")
    folder = tmp_path / "it's" / "nodes"
    folder.mkdir(parents=True)
    path = folder / "part-1-a.parquet"
    write_nodes(path, node_rows(records, "log", lambda _record, _name: ""), SystemDisk())
    return path


@pytest.fixture
def engine(file: Path) -> Iterator[QueryEngine]:
    engine = QueryEngine(FixedLake(nodes=[file]))
    yield engine
    engine.close()


def test_a_statement_names_no_file_of_the_lake(engine: QueryEngine, file: Path) -> None:
    assert rows_of(engine, "SELECT count(*) > 0 FROM records") == [[True]]
    for sql in NAMED:
        with pytest.raises(InvalidInput, match="read") as refused:
            rows_of(engine, sql.format(file=file, folder=file.parent).replace("it's", "it''s"))
        assert "views" in refused.value.hint, sql


def test_a_session_opens_no_file_outside_of_the_lakes_folders(file: Path) -> None:
    secret = file.parents[1] / "secret.txt"
    secret.write_text("x")
    with (
        statement_database(QueryLimits(), [file.parent]) as database,
        session(database, [file], (), (), NODES.empty_table()) as connection,
    ):
        assert connection.execute("SELECT count(*) > 0 FROM records").fetchall() == [(True,)]
        connection.rollback()
        for sql in OUTSIDE:
            for path in (secret, f"{file.parent}/../secret.txt", "/etc/passwd", "/proc/self/fd/0"):
                with pytest.raises((duckdb.PermissionException, duckdb.CatalogException)):
                    connection.execute(sql.format(path=str(path).replace("'", "''")))


def test_the_kernel_lets_no_file_be_written_cut_or_removed(file: Path) -> None:
    before = file.read_bytes()
    ran = subprocess.run([sys.executable, "-c", CONFINED, str(file)], capture_output=True, timeout=60, check=False)
    if ran.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert (ran.returncode, ran.stdout) == (0, b"[]\n"), ran.stderr
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
