"""A record that was read back from its row says what the record said."""

from __future__ import annotations

import msgspec
from tests.collector.stand import START_NS

from livespan.collector.lake.read_back import READ_COLUMNS, records_of
from livespan.collector.lake.rows import Stored, node_rows, node_table
from livespan.proto import attributes as names
from livespan.proto.ids import trace_id
from livespan.proto.record import Large, Record, RecordKind

BASE = Record(
    kind=RecordKind.ENDED,
    project="shop",
    run_id="order-17",
    generation=2,
    trace_id=trace_id("shop", "order-17", 2),
    node_id=b"12345678",
    parent_id=b"",
    name="charge",
    started_ns=START_NS,
    ended_ns=START_NS + 1500,
    attributes={
        names.RECORD: "ended",
        names.NODE_TYPE: "TOOL",
        names.TOOL_RESULT: '"ok"',
        names.INPUT_TOKENS: 5,
        names.EFFECT: True,
        names.NOT_DONE: False,
        names.MODEL: 7,
        "own.float": 0.5,
        "own.bytes": b"\x00\xff",
        "own.large": Large(3, 99_999),
    },
    session="chat-9",
    tags={"tier": "gold"},
    attempt=3,
    epoch=4,
    writer="w",
    writer_seq=9,
    log_seq=11,
    failed=True,
    links=("00" * 8,),
)


def back(*records: Record) -> list[list[Record]]:
    rows = node_rows(records, "log", lambda record, name: f"digest of {record.log_seq} {name}")
    node_table(records)  # every value fits its column
    return [records_of({column: row.get(column) for column in READ_COLUMNS}) for row in rows]


def test_a_record_comes_back_as_it_was() -> None:
    [[record]] = back(BASE)
    attributes = {**BASE.attributes, "own.large": Stored(-1, 99_999, "digest of 11 own.large")}
    assert record == msgspec.structs.replace(BASE, attributes=attributes)


def test_an_end_comes_back_with_its_start() -> None:
    attributes = {
        names.RECORD: "started",
        names.SCOPE: "/",
        names.TOOL_ARGUMENTS: Large(0, 20_000),
        names.NODE_TYPE: "TOOL",
    }
    start = msgspec.structs.replace(
        BASE, kind=RecordKind.STARTED, log_seq=7, ended_ns=0, failed=False, attributes=attributes
    )
    [[started, ended]] = back(start, BASE)
    assert (started.kind, started.log_seq, started.failed) == (RecordKind.STARTED, 7, False)
    assert names.TOOL_RESULT not in started.attributes
    for record in (started, ended):
        assert record.attributes[names.TOOL_ARGUMENTS] == Stored(-1, 20_000, f"digest of 7 {names.TOOL_ARGUMENTS}")
        assert record.text(names.SCOPE) == "/"


def test_a_foreign_span_keeps_its_own_bytes_by_digest() -> None:
    foreign = msgspec.structs.replace(BASE, kind=RecordKind.FOREIGN, attributes={"a": "b"}, raw=Large(0, 300))
    [[record]] = back(foreign)
    assert record.raw == Stored(-1, 300, "digest of 11 raw")


def test_times_beyond_64_bits_are_null_and_values_beyond_32_bits_fit() -> None:
    wild = msgspec.structs.replace(
        BASE, started_ns=(1 << 64) - 1, ended_ns=1 << 63, generation=1 << 62, attributes={names.OCCURRENCE: -(1 << 63)}
    )
    [row] = node_rows([wild], "log", lambda _record, _name: "")
    assert (row["started_ns"], row["ended_at"], row["latency_ms"]) == (None, None, None)
    node_table([wild])


def test_a_start_that_came_after_an_end_is_open_again() -> None:
    later = msgspec.structs.replace(BASE, kind=RecordKind.STARTED, log_seq=20)
    assert [row["kind"] for row in node_rows([BASE, later], "log", lambda _record, _name: "")] == ["ended", "started"]
