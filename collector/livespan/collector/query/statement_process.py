"""The process that runs users' statements, one after another: `python -m livespan.collector.query.statement_process`.

    libraries, databases, a warm-up ─▶ confinement ─┬▶ Ready ─▶ Ask, Wanted, Over ─▶ Rows, More, Rows ... ─┐
                                                    └──────────────────────────────────────────────────────┘

Whatever a statement does to it, the collector loses nothing but this process: it is killed where it takes too long,
and dies alone where it is out of memory or a damaged file ends its reader. Standard input is the socket.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, cast

import duckdb
import msgspec

from livespan.collector.arrow import ArrowTable, map_stream
from livespan.collector.lake.schema import NODES
from livespan.collector.query.confinement import confine, end_first, end_with_parent, resident_bytes, write_no_files
from livespan.collector.query.exchange import (
    MOST_ROW_BYTES,
    Ask,
    Message,
    Over,
    Ready,
    Refusal,
    Rows,
    receive,
    send,
)
from livespan.collector.query.guard import read_only
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.refusing import duckdb_errors, errors_of_ours, too_much_memory
from livespan.collector.query.statement_database import StatementDatabases, session
from livespan.collector.query.values import json_row, unique_names
from livespan.collector.query.wanted import wanted
from livespan.proto.errors import InvalidInput, LivespanError

_FIRST_ROWS: Final = 16
_MOST_ROWS: Final = 4096
_REPLY_BYTES: Final = 1024 * 1024
"""About how large a reply is; one row at the least, whatever it weighs."""
_SPENT_BYTES: Final = 128 * 1024 * 1024
"""A process that a statement left larger than this is not kept for another."""
_WARM_UP: Final = "SELECT now(), count(*) FROM records"
"""Loads what the first rows would wait for: zones of time, the scan of a relation."""


def _main() -> None:
    end_with_parent()
    end_first()
    write_no_files()  # before there are threads, which would go without
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # they are for the collector, which ends us when it leaves
    limits = QueryLimits(memory_bytes=int(sys.argv[1]), threads=int(sys.argv[2]))
    databases = StatementDatabases(limits, [Path(folder) for folder in sys.argv[3:]])
    for database in databases.each:
        with session(database, (), (), (), NODES.empty_table()) as connection:
            connection.execute(_WARM_UP).fetchall()
    confine(limits.memory_bytes)
    began_bytes = resident_bytes()
    with socket.socket(fileno=0) as collector, suppress(EOFError, OSError):  # it has left: so do we
        while resident_bytes() < began_bytes + _SPENT_BYTES and all(map(_is_sound, databases.each)):
            send(collector, Ready())
            _answer(collector, databases, limits, receive(collector).message)


def _is_sound(database: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether DuckDB still answers: after an error that it calls internal it does not."""
    try:
        return database.execute("SELECT 1").fetchall() == [(1,)]
    except duckdb.Error:
        return False


def _answer(collector: socket.socket, databases: StatementDatabases, limits: QueryLimits, ask: Message) -> None:
    assert isinstance(ask, Ask)
    try:
        with databases.each[0].cursor() as connection, duckdb_errors(limits):
            sql = read_only(connection, ask.sql)
            send(collector, wanted(connection, sql))
        asked = receive(collector, most_descriptors=1)
        over = asked.message
        assert isinstance(over, Over)
        [descriptor] = asked.descriptors
        hot = map_stream(descriptor)
        os.close(descriptor)
        for rows, data in _replies(databases, limits, sql, over, hot):
            send(collector, rows, data)
            if not rows.last:
                receive(collector)
    except LivespanError as error:
        send(collector, Refusal.of(error))
    except MemoryError:
        send(collector, Refusal.of(too_much_memory(limits)))


def _replies(
    databases: StatementDatabases, limits: QueryLimits, sql: str, over: Over, hot: ArrowTable
) -> Iterator[tuple[Rows, bytes]]:
    """Run the statement and yield its rows, cut into replies; one without rows where there are none."""
    nodes, content = list(map(Path, over.nodes)), list(map(Path, over.content))
    database = databases.chosen(nodes, over.touched, hot)
    with ExitStack() as opened:
        with errors_of_ours(limits):
            connection = opened.enter_context(session(database, nodes, content, over.touched, hot))
        try:
            with duckdb_errors(limits):
                connection.execute(sql)
                columns = unique_names([str(column[0]) for column in connection.description])
        except InvalidInput:
            with errors_of_ours(limits):  # is it the statement, or a file that cannot be read?
                connection.rollback()
                connection.execute("EXPLAIN SELECT 1 FROM records, content").fetchall()
            raise
        size, ended = _FIRST_ROWS, False
        while not ended:
            with duckdb_errors(limits):
                batch = cast("list[tuple[object, ...]]", connection.fetchmany(size))
            ended = len(batch) < size
            parts = _parts(batch)
            for number, part in enumerate(parts, 1):
                yield Rows(columns, len(part), last=ended and number == len(parts)), b"[" + b",".join(part) + b"]"
            size = _next_size(size, sum(len(row) for part in parts for row in part))


def _parts(batch: Sequence[tuple[object, ...]]) -> list[list[bytes]]:
    """Return rows as JSON, in parts that are replies; one part at the least."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for values in batch:
        row = msgspec.json.encode(json_row(values))
        if len(row) > MOST_ROW_BYTES:
            raise InvalidInput(
                f"a row of the answer has more than {MOST_ROW_BYTES // 1024**2} MiB",
                subject="sql",
                hint="Select fewer columns, or a part of the value: substring(...), octet_length(...).",
            )
        if size and size + len(row) > _REPLY_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += len(row)
    return parts


def _next_size(size: int, bytes_: int) -> int:
    """Return how many rows to fetch next, so that they come near to a reply's size whatever a row weighs."""
    wanted = size * _REPLY_BYTES // max(1, bytes_)
    return max(1, min(wanted, size * 16, _MOST_ROWS))


if __name__ == "__main__":
    _main()
