"""Flipped bits in the lake's files: a read says so, and the process that reads goes on."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import duckdb
import pytest
from tests.collector.recorded import FixedLake, interrupted_run
from tests.collector.statements import rows_of

from livespan.collector.disk import SystemDisk
from livespan.collector.lake import reader as lake_reader
from livespan.collector.lake.parquet import write_nodes
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.rows import node_rows
from livespan.collector.lake.table import LakeFile
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.runs import list_runs
from livespan.proto.errors import Damaged
from livespan.proto.record import Record

_LENGTH = struct.Struct("<I")
EVERY = 4001
"""Bits between one that is flipped and the next; prime, so that all eight of a byte come in turn."""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    records: list[Record] = []
    interrupted_run(records)
    path = tmp_path / "nodes.parquet"
    write_nodes(path, node_rows(records, "log", lambda _record, _name: ""), SystemDisk())
    return path


def flipped(path: Path) -> Iterator[Path]:
    """Yield copies of a file, each with one bit of its footer flipped."""
    data = path.read_bytes()
    (length,) = _LENGTH.unpack(data[-8:-4])
    first = len(data) - 8 - length
    copy = path.with_name("flipped.parquet")
    for bit in range(first * 8, len(data) * 8, EVERY):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(damaged)
        yield copy


def read_as_our_own(sound: str) -> None:
    """Read each damaged copy as `runs list` and recovery do, in a process that this must not end."""
    path = Path(sound)
    reader = LakeReader()
    refusals = 0
    for copy in flipped(path):
        engine = QueryEngine(FixedLake(nodes=[copy]))
        reads: list[Callable[[], object]] = [
            partial(list_runs, engine, free),
            partial(reader.run_rows, [lake_file(copy)], "shop", "order-17", None),
        ]
        for read in reads:
            try:
                read()
            except Damaged:
                refusals += 1
    assert refusals > 5
    assert reader.run_rows([lake_file(path)], "shop", "order-17", None)


def lake_file(path: Path) -> LakeFile:
    return LakeFile(path, None, None)


def free(_trace: bytes) -> bool:
    return False


def test_no_flipped_bit_of_a_footer_ends_our_own_reads(sound: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=read_as_our_own, args=(str(sound),))
    process.start()
    process.join(120)
    assert process.exitcode == 0


def test_a_users_statement_over_a_damaged_footer_is_refused_and_the_next_is_answered(sound: Path) -> None:
    lake = FixedLake()
    engine = QueryEngine(lake)
    refusals = 0
    for copy in flipped(sound):
        lake.nodes = [copy]
        try:
            rows_of(engine, "SELECT * FROM records")
        except Damaged as error:
            assert "livespan verify" in error.hint
            refusals += 1
    assert refusals
    lake.nodes = [sound]
    assert rows_of(engine, "SELECT count(*) > 0 FROM records") == [[True]]
    engine.close()


def test_after_an_internal_error_the_reader_has_another_database(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = LakeReader()
    real = vars(lake_reader)["_rows"]
    invalid: set[duckdb.DuckDBPyConnection] = set()

    def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
        """As DuckDB does it: one internal error, and the database answers nothing any more."""
        if connection in invalid:
            raise duckdb.FatalException("database has been invalidated because of a previous fatal error")
        if not invalid:
            invalid.add(connection)
            raise duckdb.InternalException("Information loss on integer cast")
        return real(connection, sql)

    monkeypatch.setattr(lake_reader, "_rows", rows)
    first = vars(reader)["_connection"]
    with pytest.raises(Damaged, match="Information loss"):
        reader.run_rows([lake_file(sound)], "shop", "order-17", None)
    assert reader.run_rows([lake_file(sound)], "shop", "order-17", None)
    # Who was at work beside it, on the database that is no more, is answered by the new one.
    vars(reader)["_connection"] = first
    assert reader.run_rows([lake_file(sound)], "shop", "order-17", None)
    reader.close()
