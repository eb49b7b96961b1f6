from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

import grpc
import msgspec
import pytest
from tests.collector.query_server import serving
from tests.collector.recorded import FixedLake, RunBuilder, interrupted_run
from tests.collector.statements import Rows, more_of, rows_of

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.parquet import write_nodes
from livespan.collector.lake.rows import node_rows, node_table
from livespan.collector.query.engine import QueryEngine, QueryLimits
from livespan.collector.query.runs import RunFilter, list_runs, show_run
from livespan.collector.query.shapes import ShownNode
from livespan.proto.errors import InvalidInput, NotFound
from livespan.proto.node import ExecutionNode
from livespan.proto.record import Record
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

RUN_KEYS = [
    "run_id",
    "project",
    "session",
    "tags",
    "status",
    "nodes",
    "effects",
    "in_doubt",
    "input_tokens",
    "output_tokens",
    "started_at",
    "ended_at",
]
SLOW = "SELECT count(*) FROM range(10000000000) a, range(1000) b"


class Cancellable(Protocol):
    """A call, as its stubs should have it."""

    def cancel(self) -> bool: ...


def free(_trace: bytes) -> bool:
    return False


def held(_trace: bytes) -> bool:
    return True


def publish(records: list[Record], path: Path) -> Path:
    write_nodes(path, node_rows(records, "log", lambda _record, _name: ""), SystemDisk())
    return path


@pytest.fixture(scope="module")
def interrupted() -> Iterator[QueryEngine]:
    records: list[Record] = []
    interrupted_run(records)
    engine = QueryEngine(FixedLake(records))
    yield engine
    engine.close()


FILES = [
    "SELECT * FROM read_text('{path}')",
    "SELECT * FROM read_blob('{path}')",
    "SELECT * FROM read_csv('{path}')",
    "SELECT * FROM read_json('{path}')",
    "SELECT * FROM read_parquet('{path}')",
    "SELECT * FROM parquet_metadata('{path}')",
    "SELECT * FROM sniff_csv('{path}')",
    "SELECT * FROM glob('{path}')",
    "SELECT * FROM '{path}'",
    "SELECT (SELECT content FROM read_text('{path}'))",
    "SELECT * FROM query('SELECT * FROM read_text(''{path}'')')",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('{path}')",
    "COPY nodes TO '{path}'",
    "COPY nodes FROM '{path}'",
    "ATTACH '{path}'",
    "EXPORT DATABASE '{path}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{path}'",
]


@pytest.mark.parametrize("sql", FILES)
def test_no_statement_of_a_user_reaches_a_file(interrupted: QueryEngine, sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")
    with pytest.raises(InvalidInput):
        rows_of(interrupted, sql.format(path=secret))
    assert os.listdir(tmp_path) == ["secret.csv"]
    assert secret.read_text() == "password\nhunter2\n"


def test_a_name_in_sql_is_never_a_variable_of_ours(interrupted: QueryEngine) -> None:
    here = node_table([])  # what DuckDB would find by its name in the frames above it
    assert here is not None
    with pytest.raises(InvalidInput, match="here"):
        rows_of(interrupted, "SELECT * FROM here")


def test_what_one_statement_leaves_behind_no_other_sees(interrupted: QueryEngine) -> None:
    assert rows_of(interrupted, "SELECT count(*) FROM nodes") == rows_of(interrupted, "SELECT count(*) FROM nodes")
    assert rows_of(interrupted, "SELECT current_setting('TimeZone')") == [["UTC"]]


def test_an_answer_with_too_many_rows_is_refused_and_not_cut() -> None:
    engine = QueryEngine(FixedLake(), QueryLimits(max_rows=10))
    assert len(rows_of(engine, "FROM range(10)")) == 10
    with pytest.raises(InvalidInput, match="more than 10 rows"):
        rows_of(engine, "FROM range(11)")


def test_values_are_json_as_documented(interrupted: QueryEngine) -> None:
    [row] = rows_of(
        interrupted,
        "SELECT TIMESTAMPTZ '2026-01-31 10:00:00+01', TIMESTAMP '2026-01-31 10:00:00', DATE '2026-01-31', "
        "1::HUGEINT << 100, 9223372036854775807, 1.50::DECIMAL(9, 2), 'nan'::FLOAT, 'inf'::DOUBLE, 'a'::BLOB, "
        "{'a': [1, NULL]}, MAP {1: 'x'}, INTERVAL 90 SECOND, NULL, true, '{\"a\": 1}'::JSON",
    )
    assert row == [
        "2026-01-31T09:00:00.000000+00:00",
        "2026-01-31T10:00:00.000000",
        "2026-01-31",
        "1267650600228229401496703205376",
        9223372036854775807,
        "1.50",
        None,
        None,
        "YQ==",
        {"a": [1, None]},
        {"1": "x"},
        "P0DT90S",
        None,
        True,
        '{"a": 1}',
    ]


def test_repeated_column_names_are_told_apart(interrupted: QueryEngine) -> None:
    answer = interrupted.select("SELECT 1 AS a, 2 AS a, 3 AS a_1")
    assert more_of(answer) == [[1, 2, 3]]
    assert answer.columns == ["a", "a_2", "a_1"]
    answer.close()


def test_published_and_unpublished_records_are_one_relation(tmp_path: Path) -> None:
    first: list[Record] = []
    RunBuilder(first, "it's here").call("think")
    second = list(first)
    RunBuilder(second, "still hot").call("think")
    engine = QueryEngine(FixedLake(second[len(first) :], nodes=[publish(first, tmp_path / "it's.parquet")]))
    assert rows_of(engine, "SELECT run_id FROM nodes ORDER BY ALL") == [["it's here"], ["still hot"]]
    assert [run.run_id for run in list_runs(engine, free).runs] == ["still hot", "it's here"]


def test_runs_are_listed_newest_first_with_what_they_cost() -> None:
    records: list[Record] = []
    interrupted_run(records)
    other = RunBuilder(records, "order-18", project="bank")
    other.open_root()
    other.call("think")
    other.end_root()
    engine = QueryEngine(FixedLake(records))
    newest, oldest = list_runs(engine, free).runs
    assert (newest.run_id, newest.status, newest.tags) == ("order-18", "done", {})
    assert newest.ended_at is not None
    assert (oldest.run_id, oldest.status, oldest.in_doubt, oldest.effects) == ("order-17", "in_doubt", 1, 2)
    assert (oldest.session, oldest.tags) == ("chat-9", {"tier": "gold"})
    assert (oldest.input_tokens, oldest.output_tokens, oldest.ended_at) == (1514, 97, None)
    assert oldest.started_at == "2026-01-31T09:00:01.000000+00:00"
    assert [run.run_id for run in list_runs(engine, free, RunFilter(project="shop")).runs] == ["order-17"]
    assert [run.run_id for run in list_runs(engine, free, RunFilter(limit=1)).runs] == ["order-18"]


def test_nothing_is_in_doubt_while_a_living_process_holds_the_run(interrupted: QueryEngine) -> None:
    [run] = list_runs(interrupted, held).runs
    assert (run.status, run.in_doubt) == ("running", 0)
    assert not any(node.in_doubt for node in show_run(interrupted, held, "shop", "order-17").nodes)


def test_of_several_generations_the_newest_is_the_run() -> None:
    records: list[Record] = []
    for generation in (0, 1):
        run = RunBuilder(records, "nightly", generation=generation)
        run.open_root()
        run.call(f"think {generation}")
    engine = QueryEngine(FixedLake(records))
    assert len(list_runs(engine, free).runs) == 1
    assert "think 1" in [node.name for node in show_run(engine, free, "shop", "nightly").nodes]


def test_a_shown_run_says_what_became_of_each_node(interrupted: QueryEngine) -> None:
    shown = show_run(interrupted, free, "shop", "order-17")
    told = {(node.name, node.try_number): (node.status, node.reuse, node.in_doubt) for node in shown.nodes}
    assert told == {
        ("order-17", 0): ("RUNNING", "", False),
        ("think", 0): ("SUCCESS", "RECORDED", False),
        ("plan", 0): ("RUNNING", "", False),
        ("plan", 1): ("SUCCESS", "RE-EXECUTED", False),
        ("send_mail", 0): ("SUCCESS", "", False),
        ("charge_card", 0): ("RUNNING", "IN DOUBT", True),
    }
    assert [node.name for node in shown.nodes][:2] == ["order-17", "think"]


def test_one_attempt_reuses_nothing() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "once")
    run.call("think")
    assert [node.reuse for node in show_run(QueryEngine(FixedLake(records)), free, "shop", "once").nodes] == [""]


def test_an_effect_that_failed_without_saying_not_done_is_in_doubt_until_it_is_settled() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "order")
    charge = run.start("charge", effect=True)
    run.end(charge, error="app.Timeout")
    engine = QueryEngine(FixedLake(records))
    assert show_run(engine, free, "shop", "order").nodes[0].in_doubt
    run.settle(charge, "done", '{"id": 7}')
    [node] = show_run(engine, free, "shop", "order").nodes
    assert (node.in_doubt, node.conflict, node.status) == (False, False, "SUCCESS")


@pytest.mark.parametrize(
    ("how", "settled_output", "conflict"), [("not_done", "", True), ("done", "8", True), ("done", "7", False)]
)
def test_an_end_that_says_otherwise_than_the_settlement_is_a_conflict(
    how: str, settled_output: str, conflict: bool
) -> None:
    records: list[Record] = []
    run = RunBuilder(records, "order")
    charge = run.start("charge", effect=True)
    run.settle(charge, how, settled_output)
    run.end(charge, "7")
    [node] = show_run(QueryEngine(FixedLake(records)), free, "shop", "order").nodes
    assert node.conflict is conflict


def test_a_shown_node_has_every_field_of_an_execution_node_but_the_bytes() -> None:
    fields = {field.name for field in msgspec.structs.fields(ShownNode)}
    wanted = set(ExecutionNode.__dataclass_fields__) - {"state_bytes"}
    added = {"input_digest", "output_digest", "in_doubt", "conflict", "reuse", "settled", "settled_by"}
    assert fields == wanted | added


def test_inputs_are_json_digit_for_digit() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "digits")
    run.start("think", given='{"n": 12345678901234567890123, "x": 1.10}')
    [node] = show_run(QueryEngine(FixedLake(records)), free, "shop", "digits").nodes
    assert bytes(node.input) == b'{"n": 12345678901234567890123, "x": 1.10}'
    assert bytes(node.output) == b"null"


def test_the_service_answers_with_exactly_the_documented_keys(tmp_path: Path) -> None:
    records: list[Record] = []
    interrupted_run(records)
    with serving(FixedLake(records), tmp_path) as served, open_channel(served.target) as channel:
        query = QueryStub(channel)
        [run] = msgspec.json.decode(query.ListRuns(pb.ListRunsRequest()).json, type=list[dict[str, object]])
        assert list(run) == RUN_KEYS
        ref = pb.RunRef(project="shop", run_id="order-17")
        shown = msgspec.json.decode(query.ShowRun(pb.ShowRunRequest(run=ref)).json, type=dict[str, object])
        assert list(shown) == ["run", "nodes"]
        with pytest.raises(grpc.RpcError) as refused:
            query.ShowRun(pb.ShowRunRequest(run=pb.RunRef(project="shop", run_id="nope")))
        assert isinstance(translate(refused.value), NotFound)


def test_rows_are_streamed_and_the_columns_come_first_even_without_rows(tmp_path: Path) -> None:
    with serving(FixedLake(), tmp_path) as served, open_channel(served.target) as channel:
        query = QueryStub(channel)
        replies = list(query.Sql(pb.SqlRequest(sql="SELECT i, repeat('x', 1000) AS t FROM range(20000) r(i)")))
        assert list(replies[0].columns) == ["i", "t"]
        assert len(replies) > 5
        assert max(len(reply.rows) for reply in replies) < 8 * 1024 * 1024
        rows = [row for reply in replies if reply.rows for row in msgspec.json.decode(reply.rows, type=Rows)]
        assert [row[0] for row in rows] == list(range(20000))
        [empty] = query.Sql(pb.SqlRequest(sql="SELECT 1 AS a WHERE false"))
        assert list(empty.columns) == ["a"]


def test_a_caller_who_goes_away_has_his_statement_ended(tmp_path: Path) -> None:
    with serving(FixedLake(), tmp_path) as served, open_channel(served.target) as channel:
        query = QueryStub(channel)
        calls = [query.Sql(pb.SqlRequest(sql=SLOW)) for _ in range(2)]
        until(lambda: running(served.service) == 2)
        for call in calls:
            cast("Cancellable", call).cancel()
        # Both threads for statements are free again, else this would wait for 30 s.
        assert next(iter(query.Sql(pb.SqlRequest(sql="SELECT 1"), timeout=10))).rows == b"[[1]]"
        until(lambda: running(served.service) == 0)


def running(service: object) -> int:
    return len(vars(service)["_answers"])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_effect_that_was_tried_twice_is_one_effect() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "order")
    run.start("charge", effect=True)
    run.end(run.start("charge", effect=True, try_number=1))
    run.end(run.start("mail", effect=True))
    shown = show_run(QueryEngine(FixedLake(records)), free, "shop", "order")
    assert (shown.run.effects, len(shown.nodes)) == (2, 3)
