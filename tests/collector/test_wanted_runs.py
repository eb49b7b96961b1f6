"""Which runs a statement is about, and that an answer over a snapshot of those alone is the answer over all; what a
process keeps warm shows what was recorded, published and merged since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests.collector.stand import Stand, Writer, node
from tests.collector.statements import processes_of, rows_of

from livespan.collector.lake.file_names import Role, role_of
from livespan.collector.lake.tiers import FAN_IN
from livespan.collector.lake.views import is_plain
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.runs import list_runs, show_run
from livespan.collector.query.wanted import wanted

VIEWS = ("records", "nodes", "runs", "effects", "llm_calls", "checkpoints", "content")
OF_RUNS = {
    "SELECT * FROM nodes WHERE run_id = 'a'": ["a"],
    "FROM nodes WHERE run_id = 'it''s'": ["it's"],
    "SELECT count(*) FROM nodes AS n WHERE 'a' = n.run_id AND type = 'TOOL' GROUP BY name LIMIT 3": ["a"],
    "SELECT 'b' AS run_id FROM Nodes WHERE RUN_ID = 'a' AND (name = 'x' OR run_id = 'z')": ["a"],
    "SELECT * FROM runs WHERE run_id IN ('a', 'b') ORDER BY started_at": ["a", "b"],
}
OF_ALL = [
    "SELECT * FROM nodes",
    "SELECT 1",
    "SELECT * FROM nodes WHERE run_id = 'a' OR name = 'x'",
    "SELECT * FROM nodes WHERE NOT run_id = 'a'",
    "SELECT * FROM nodes WHERE run_id <> 'a'",
    "SELECT * FROM nodes WHERE run_id NOT IN ('a')",
    "SELECT * FROM nodes WHERE run_id IN ('a', name)",
    "SELECT * FROM nodes WHERE run_id = NULL",
    "SELECT * FROM nodes WHERE run_id = 'a' || 'b'",
    "SELECT * FROM nodes WHERE run_id COLLATE NOCASE = 'a'",
    "SELECT * FROM nodes WHERE lower(run_id) = 'a'",
    "SELECT * FROM nodes WHERE run_id = (SELECT min(run_id) FROM runs)",
    "SELECT * FROM nodes WHERE run_id = 'a' AND name IN (SELECT name FROM nodes)",
    "SELECT (SELECT count(*) FROM nodes) FROM nodes WHERE run_id = 'a'",
    "SELECT * FROM nodes WHERE run_id = 'a' UNION ALL SELECT * FROM nodes",
    "SELECT * FROM (SELECT * FROM nodes) WHERE run_id = 'a'",
    "SELECT * FROM nodes, runs WHERE nodes.run_id = 'a'",
    "SELECT * FROM nodes AS n (x, run_id) WHERE run_id = 'a'",
    "SELECT * FROM nodes TABLESAMPLE 10% WHERE run_id = 'a'",
    "WITH nodes AS (SELECT 'a' AS run_id) SELECT * FROM nodes WHERE run_id = 'a'",
    "EXPLAIN SELECT * FROM nodes WHERE run_id = 'a'",
    "DESCRIBE SELECT * FROM nodes WHERE run_id = 'a'",
    "SUMMARIZE SELECT * FROM nodes WHERE run_id = 'a'",
    "SELECT * FROM duckdb_views() WHERE run_id = 'a'",
]


@pytest.mark.parametrize(("sql", "runs"), OF_RUNS.items())
def test_a_condition_on_runs_is_seen(sql: str, runs: list[str]) -> None:
    with duckdb.connect() as connection:
        assert wanted(connection, sql).runs == runs


@pytest.mark.parametrize("sql", OF_ALL)
def test_what_is_not_surely_of_some_runs_is_of_all(sql: str) -> None:
    with duckdb.connect() as connection:
        assert wanted(connection, sql).runs is None


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """A lake of which run-0 to run-2 are merged and plain, run-3 was published after that, and run-1 touched by it."""
    made = Stand(tmp_path)
    for number in range(FAN_IN):
        for run in range(3):
            writer = Writer(run_id=f"run-{run}", name=f"w{run}", seq=number * 10)
            made.send(writer.started(node(number + 1)), writer.ended(node(number + 1)), writer.checkpoint(number))
        made.publish()
    while made.publisher.compaction.step():
        pass
    late = Writer(run_id="run-3", name="w3")
    again = Writer(run_id="run-1", name="w1", seq=500)
    made.send(late.started(node(70)), late.ended(node(70)), again.settled(node(2), "done"))
    made.publish()
    yield made
    made.crash()


@pytest.fixture
def engine(stand: Stand) -> Iterator[QueryEngine]:
    made = QueryEngine(stand.publisher)
    yield made
    made.close()


@pytest.mark.parametrize("view", VIEWS)
def test_an_answer_about_a_run_is_that_of_the_whole_lake(stand: Stand, engine: QueryEngine, view: str) -> None:
    hot = Writer(run_id="run-2", name="w2", seq=500)
    stand.send(hot.started(node(80)))
    for run in ("run-0", "run-1", "run-2", "run-3", "run-9"):
        narrow = f"SELECT * FROM {view} WHERE run_id = '{run}' ORDER BY ALL"
        whole = f"SELECT * FROM (FROM {view}) WHERE run_id = '{run}' ORDER BY ALL"
        assert rows_of(engine, narrow) == rows_of(engine, whole)
        assert rows_of(engine, narrow) or run == "run-9" or view in ("llm_calls", "checkpoints", "content")


def test_a_snapshot_of_a_merged_run_is_plain_and_has_no_other_file(stand: Stand) -> None:
    merged, touched, late = [stand.publisher.snapshot([run]) for run in ("run-0", "run-1", "run-3")]
    assert is_plain(merged.nodes, merged.touched, len(merged.hot))
    assert {role_of(path) for path in merged.nodes} == {Role.PLAIN, Role.BESIDE}
    assert touched.touched == frozenset({"run-1"})
    assert [role_of(path) for path in late.nodes] == [Role.PART]
    assert not is_plain(late.nodes, late.touched, 0)
    assert not is_plain(merged.nodes, merged.touched, 1)
    assert not is_plain(merged.nodes, None, 0)


def test_what_is_kept_warm_shows_what_came_since(stand: Stand, engine: QueryEngine) -> None:
    """One process answers all of these: over a plain run, its hot rows, their file, and the merge of that."""
    sql = "SELECT node_id, status FROM nodes WHERE run_id = 'run-0' ORDER BY log_seq"
    before = rows_of(engine, sql)
    [first] = processes_of(os.getpid())
    assert before == [[node(number + 1).hex(), "SUCCESS"] for number in range(FAN_IN)]
    writer = Writer(run_id="run-0", name="w0", seq=500)
    stand.send(writer.started(node(90)))
    assert rows_of(engine, sql) == [*before, [node(90).hex(), "RUNNING"]]
    stand.send(writer.ended(node(90)))
    now = [*before, [node(90).hex(), "SUCCESS"]]
    assert rows_of(engine, sql) == now
    stand.publish()
    assert rows_of(engine, sql) == now
    old = stand.hot.files().nodes
    for number in range(FAN_IN):
        other = Writer(run_id="run-8", name="w8", seq=number * 10)
        stand.send(other.started(node(number + 1)), other.ended(node(number + 1)))
        stand.publish()
    while stand.publisher.compaction.step():
        pass
    assert stand.hot.files().nodes != old
    assert rows_of(engine, sql) == now
    [pid] = processes_of(os.getpid())
    assert pid == first


def test_runs_are_shown_alike_from_a_snapshot_of_their_own(stand: Stand, engine: QueryEngine) -> None:
    listed = {run.run_id: run for run in list_runs(engine, lambda _trace: False).runs}
    assert set(listed) == {"run-0", "run-1", "run-2", "run-3"}
    for run in listed.values():
        shown = show_run(engine, lambda _trace: False, run.project, run.run_id)
        assert (shown.run.status, shown.run.nodes) == (run.status, run.nodes)
        assert len(shown.nodes) == run.nodes
