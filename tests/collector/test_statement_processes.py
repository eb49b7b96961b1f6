"""The processes of users' statements: each dies alone, none outlives what it is for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.collector.recorded import FixedLake
from tests.collector.statements import more_of, processes_of, rows_of
from tests.livespan_home import LiveHome, wait_until

from livespan.collector.query.engine import QueryEngine, QueryLimits
from livespan.proto.errors import Closed, InvalidInput, LivespanError, Unavailable
from livespan.proto.process import start_time_ticks
from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

SLOW = "SELECT levenshtein(repeat('x', 300000), repeat('y', 300000))"
"""What DuckDB does not let go of, not for an interrupt either."""


@pytest.fixture
def engine() -> Iterator[QueryEngine]:
    engine = QueryEngine(FixedLake())
    yield engine
    engine.close()
    assert own() == []


def own() -> list[int]:
    return processes_of(os.getpid())


def refused(engine: QueryEngine, sql: str) -> LivespanError:
    with pytest.raises(LivespanError) as raised:
        rows_of(engine, sql)
    return raised.value


def test_the_process_of_one_statement_takes_the_next(engine: QueryEngine) -> None:
    assert own() == []  # none is started before the first
    assert rows_of(engine, "SELECT 1") == [[1]]
    first = own()
    assert len(first) == 1
    assert isinstance(refused(engine, "SELEC"), InvalidInput)
    assert rows_of(engine, "FROM range(50000)") == [[number] for number in range(50000)]
    assert own() == first


def test_a_process_that_is_killed_is_told_and_the_next_statement_gets_another(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    [process] = own()
    killer = threading.Timer(0.2, os.kill, (process, signal.SIGKILL))
    killer.start()
    error = refused(engine, SLOW)
    assert isinstance(error, Unavailable)
    assert "SIGKILL" in error.message
    assert "nothing else was harmed" in error.message
    assert "livespan verify" in error.hint
    assert rows_of(engine, "SELECT 1") == [[1]]
    assert own() != [process]


def test_a_process_that_died_idle_is_not_noticed(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    [process] = own()
    os.kill(process, signal.SIGABRT)
    # Its first thread is the last that can be seen; until the others are gone it counts as alive.
    wait_until(lambda: not start_time_ticks(process) and len(os.listdir(f"/proc/{process}/task")) == 1)
    assert rows_of(engine, "SELECT 2") == [[2]]


def test_a_statement_that_takes_too_long_is_killed() -> None:
    with closing(QueryEngine(FixedLake(), QueryLimits(timeout_s=0.3))) as engine:
        error = refused(engine, SLOW)
        assert isinstance(error, Unavailable)
        assert "longer than 0.3 s" in error.message
        assert own() == []


def test_a_statement_can_be_cancelled_from_another_thread(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    answer = engine.select(SLOW)
    threading.Timer(0.2, answer.cancel).start()
    with pytest.raises(Closed):
        answer.more()
    assert own() == []
    answer.close()


def test_a_statement_that_was_cancelled_before_its_first_rows_never_starts(engine: QueryEngine) -> None:
    answer = engine.select(SLOW)
    answer.cancel()
    with pytest.raises(Closed):
        answer.more()
    assert own() == []


def test_an_answer_that_is_not_read_to_its_end_leaves_no_process(engine: QueryEngine) -> None:
    answer = engine.select("FROM range(1000000)")
    assert len(more_of(answer)) == 16
    answer.close()
    assert own() == []


def test_an_answer_whose_reader_is_slow_expires() -> None:
    with closing(QueryEngine(FixedLake(), QueryLimits(timeout_s=0.5))) as engine:
        answer = engine.select("FROM range(1000000)")
        answer.more()
        wait_until(lambda: answer.left_s < 0)
        answer.expire()
        with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
            answer.more()
        assert own() == []


def test_two_statements_run_at_once_in_processes_of_their_own(engine: QueryEngine) -> None:
    answers = [engine.select("FROM range(100000)") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert [len(rows) for rows in pool.map(more_of, answers)] == [16, 16]
    assert len(own()) == 2
    for answer in answers:
        count = 16
        while answer.is_open:
            count += len(more_of(answer))
        assert count == 100000
    assert len(own()) == 2  # both are kept


def test_a_process_that_nobody_needed_for_a_while_leaves(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    engine.retire(60)
    assert len(own()) == 1
    engine.retire(0)
    assert own() == []
    assert rows_of(engine, "SELECT 1") == [[1]]


def test_after_the_end_a_statement_is_refused(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    engine.close()
    assert own() == []
    assert "could not be started" in refused(engine, "SELECT 1").message


def test_a_process_has_given_up_what_no_statement_needs(engine: QueryEngine) -> None:
    rows_of(engine, "SELECT 1")
    [process] = own()
    limits = Path(f"/proc/{process}/limits").read_text(encoding="ascii")
    named = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert named["Max file size"] == ["0", "0"]
    assert named["Max core file size"] == ["0", "0"]
    assert all(word.isdigit() for word in named["Max data size"] + named["Max address space"])
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    assert "NoNewPrivs:\t1" in status
    own_nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process) == min(own_nice + 10, 19)
    assert Path(f"/proc/{process}/oom_score_adj").read_text(encoding="ascii") == "1000\n"


def test_a_process_ends_with_a_collector_that_is_killed() -> None:
    live = LiveHome()
    try:
        collector = live.serve_process()
        assert processes_of(collector.pid) == []  # a start does not wait for one
        with open_channel(f"unix:{live.home.root}/collector.sock") as channel:
            query = QueryStub(channel)
            list(query.Sql(pb.SqlRequest(sql="SELECT 1")))
            at_work = query.Sql(pb.SqlRequest(sql=SLOW))
            another = query.Sql(pb.SqlRequest(sql=SLOW))
            wait_until(lambda: len(processes_of(collector.pid)) == 2)
            processes = processes_of(collector.pid)
            collector.kill()
            collector.wait()
            wait_until(lambda: not any(map(start_time_ticks, processes)))
            del at_work, another
    finally:
        live.close()
