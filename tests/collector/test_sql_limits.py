"""What a user's SQL may cost: a collector stays responsive beside heavy statements, and says which limit they met."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import msgspec
import pytest
from tests.collector.recorded import FixedLake
from tests.collector.stand import Writer, request
from tests.collector.statements import processes_of, rows_of
from tests.collector.transports import Answer, GrpcTransport
from tests.livespan_home import LiveHome

from livespan.collector.query.engine import QueryEngine, QueryLimits
from livespan.proto.errors import InvalidInput, LivespanError, Stop, Unavailable
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

TIMEOUT_S = 1.0

SLOW = {
    "a cross join": "SELECT count(*) FROM range(1000000000) a, range(1000000) b",
    "endless recursion": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    "a huge range": "SELECT sum(hash(range)) FROM range(100000000000)",
}
RUNAWAY = {
    "a text that is longer than any may be": "SELECT length(repeat('x', 10000000000))",
    "a text of four billion": "SELECT length(repeat('x', 4000000000))",
    "a repeat of repeats": "SELECT length(repeat(repeat('x', 100000), 20000))",
    "growing texts": "SELECT sum(length(repeat('x', 100000000 + range::INT))) FROM range(50)",
    "many large rows": "SELECT repeat('x', 100000000) FROM range(20)",
    "a distance of two long texts": "SELECT levenshtein(repeat('x', 300000), repeat('y', 300000))",
    "a list of two billion": "SELECT len(range(2000000000))",
    "a list of lists": "SELECT list_transform(range(1000000), lambda i: range(i))",
    "a doubling recursion": (
        "WITH RECURSIVE r(n) AS (SELECT 'x' UNION ALL SELECT n || n FROM r) SELECT max(length(n)) FROM r"
    ),
    "a sleep": "SELECT sleep_ms(100000)",
}
"""What DuckDB's own limits do not stop, each of them or together."""
LARGE = {
    "a list of a billion": "SELECT len(list(range)) FROM range(1000000000)",
    "a text of a billion": "SELECT length(string_agg(range::VARCHAR, ',')) FROM range(1000000000)",
}


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[int, str]]:
    """The process id and the target of a collector with narrow limits."""
    live = LiveHome()
    try:
        limits = ("--sql-timeout-s", str(TIMEOUT_S), "--sql-memory-mb", "64", "--sql-rows", "5000")
        process = live.serve_process(*limits)
        yield process.pid, f"unix:{live.home.root}/collector.sock"
    finally:
        live.close()


@pytest.fixture
def target(collector: tuple[int, str]) -> str:
    return collector[1]


def ask(target: str, sql: str) -> list[list[object]]:
    with open_channel(target) as channel:
        try:
            replies = list(QueryStub(channel).Sql(pb.SqlRequest(sql=sql)))
        except grpc.RpcError as error:
            raise translate(error) from error
    return [row for reply in replies if reply.rows for row in msgspec.json.decode(reply.rows, type=list[list[object]])]


def most_memory_kb(pid: int) -> int:
    """Return the most memory that a process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(status.split("VmHWM:")[1].split()[0])


def refusal(target: str, sql: str) -> LivespanError | Stop:
    with pytest.raises(LivespanError) as refused:
        ask(target, sql)
    return refused.value


@pytest.mark.parametrize("sql", SLOW.values(), ids=SLOW.keys())
def test_a_statement_that_takes_too_long_is_ended_and_told_so(target: str, sql: str) -> None:
    began = time.monotonic()
    error = refusal(target, sql)
    assert isinstance(error, Unavailable)
    assert "longer than 1 s" in error.message
    assert "--sql-timeout-s" in error.hint
    assert time.monotonic() - began < 20 * TIMEOUT_S


@pytest.mark.parametrize("sql", LARGE.values(), ids=LARGE.keys())
def test_a_statement_that_needs_too_much_memory_is_refused_and_told_so(sql: str) -> None:
    limits = QueryLimits(memory_bytes=64 * 1024 * 1024, timeout_s=60)  # so much time that memory runs out first
    with pytest.raises(Unavailable, match="64 MiB") as refused:
        rows_of(QueryEngine(FixedLake(), limits), sql)
    assert "--sql-memory-mb" in refused.value.hint


@pytest.mark.parametrize("sql", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_a_runaway_expression_is_refused_and_the_collector_neither_dies_nor_grows(
    collector: tuple[int, str], sql: str
) -> None:
    pid, target = collector
    assert ask(target, "SELECT 1") == [[1]]
    before_kb = most_memory_kb(pid)
    began = time.monotonic()
    error = refusal(target, sql)
    assert isinstance(error, Unavailable | InvalidInput)
    assert error.hint
    assert time.monotonic() - began < 20 * TIMEOUT_S
    assert most_memory_kb(pid) - before_kb < 32 * 1024
    for process in processes_of(pid):
        assert most_memory_kb(process) < 600 * 1024
    assert ask(target, "SELECT 1") == [[1]]


def test_an_answer_of_too_many_rows_is_refused_and_told_so(target: str) -> None:
    error = refusal(target, "SELECT * FROM range(5001)")
    assert isinstance(error, InvalidInput)
    assert "more than 5,000 rows" in error.message
    assert "--sql-rows" in error.hint
    assert len(ask(target, "SELECT * FROM range(5000)")) == 5000


def test_beside_heavy_statements_requests_are_acknowledged_and_runs_are_listed(target: str) -> None:
    statements = [SLOW["a cross join"], *RUNAWAY.values()]
    heavy = [threading.Thread(target=refusal, args=(target, sql)) for sql in statements]
    for thread in heavy:
        thread.start()
    way = GrpcTransport(target)
    writer = Writer(run_id="beside")
    took: list[float] = []
    with open_channel(target) as channel:
        while any(thread.is_alive() for thread in heavy):
            began = time.monotonic()
            node = (len(took) + 1).to_bytes(8, "big")
            assert way.send(request(writer.started(node), writer.ended(node))) == Answer("OK")
            took.append(time.monotonic() - began)
            if len(took) % 10 == 1:
                assert QueryStub(channel).ListRuns(pb.ListRunsRequest(limit=1), timeout=10).json
    way.close()
    for thread in heavy:
        thread.join()
    assert len(took) > 5
    assert sorted(took)[len(took) // 2] < 0.5, took
    assert ask(target, "SELECT 1") == [[1]]
