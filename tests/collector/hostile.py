"""What no client should send, as data: each case is bytes, what the receiver must say, and what must be found after.

Facts are SQL over the case's own run, asked of the living collector and, when it is published, of plain DuckDB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from tests.collector.stand import START_NS
from tests.collector.wire import (
    PROJECT,
    chain,
    deep_bytes,
    failed_root,
    field_bytes,
    kv,
    linked,
    links_to_nothing,
    nested,
    odd_enums,
    ours,
    raw_span,
    request,
    span,
)

from livespan.proto import attributes as names

__all__ = ["CASES", "HEAVY", "Case"]

_COUNT: Final = "SELECT count(*) FROM nodes WHERE run_id = $run"
_BIG: Final = 5 * 1024 * 1024


@dataclass(frozen=True)
class Case:
    """One hostile request.

    Attributes:
        body: makes its bytes for a trace id (16 bytes) that is this case's own.
        code, rejected: what the receiver must answer.
        facts: SQL with `$run` for the run's id, and the rows that it must have.
        run_id: where it is not the trace id in hex.
        gzip: compressed on the way.
        project: of the run.
    """

    name: str
    body: Callable[[bytes], bytes]
    code: str = "OK"
    rejected: int = 0
    facts: dict[str, list[list[object]]] = field(default_factory=dict[str, list[list[object]]])
    run_id: str = ""
    gzip: bool = False
    project: str = PROJECT

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _attributes_of(name: str) -> str:
    return f"SELECT {name} FROM nodes WHERE run_id = $run ORDER BY node_id"


_ONE: Final[dict[str, list[list[object]]]] = {_COUNT: [[1]]}
_FAR: Final = "SELECT started_at IS NULL, started_ns, ended_ns FROM nodes WHERE run_id = $run"
_LARGE: Final = "SELECT name, size_bytes FROM content WHERE run_id = $run AND kind <> 'span' ORDER BY name"
_NONSENSE: Final = "SELECT kind, count(*) FROM records WHERE run_id = $run GROUP BY kind ORDER BY kind"

CASES: Final[tuple[Case, ...]] = (
    Case("garbage", lambda _: b"\xff\xfe\x00garbage" * 50, "INVALID_ARGUMENT"),
    Case("text", lambda _: b"GET / HTTP/1.1\r\n\r\n", "INVALID_ARGUMENT"),
    Case("truncated protobuf", lambda trace: request(span(trace))[:-7], "INVALID_ARGUMENT"),
    Case("empty", lambda _: b""),
    Case("zip bomb", lambda _: bytes(256 * 1024 * 1024), "RESOURCE_EXHAUSTED", gzip=True),
    Case("70 MB body", lambda trace: raw_span(trace, field_bytes(5, b"x" * 70_000_000)), "RESOURCE_EXHAUSTED"),
    Case(
        "2 million empty spans in 4 MB",
        lambda _: field_bytes(1, field_bytes(2, b"\x12\x00" * 2_000_000)),
        "INVALID_ARGUMENT",
    ),
    Case(
        "30 million empty links in 60 MB", lambda trace: raw_span(trace, b"\x6a\x00" * 30_000_000), "INVALID_ARGUMENT"
    ),
    Case("zero trace id", lambda _: request(span(bytes(16))), rejected=1),
    Case("zero span id", lambda trace: request(span(trace, 0), span(trace, 1)), rejected=1, facts=_ONE),
    Case(
        "short and long ids",
        lambda trace: request(span(trace[:7]), span(trace * 2), span(trace, span_id=b"x" * 9)),
        rejected=3,
    ),
    Case(
        "wrong parent id",
        lambda trace: request(span(trace, parent_span_id=b"xyz"), span(trace, 2)),
        rejected=1,
        facts=_ONE,
    ),
    Case(
        "zero parent id",
        lambda trace: request(span(trace, parent_span_id=bytes(8))),
        facts={_attributes_of("parent_id"): [[None]]},
    ),
    Case("duplicate span ids", lambda trace: request(span(trace, 1, name="a"), span(trace, 1, name="b")), facts=_ONE),
    Case(
        "the same span twice",
        lambda trace: request(span(trace), span(trace)),
        facts={"SELECT count(*) FROM records WHERE run_id = $run": [[1]]},
    ),
    Case(
        "unknown enums",
        lambda trace: request(odd_enums(trace)),
        facts={_attributes_of("status"): [["SUCCESS"]]},
    ),
    Case("5 MB text", lambda trace: request(span(trace, 1, kv("big", "x" * _BIG))), facts={_LARGE: [["big", _BIG]]}),
    Case("5 MB bytes", lambda trace: request(span(trace, 1, kv("big", bytes(_BIG)))), facts={_LARGE: [["big", _BIG]]}),
    Case(
        "5 MB name",
        lambda trace: request(span(trace, name="n" * _BIG)),
        facts={"SELECT length(name) FROM nodes WHERE run_id = $run": [[_BIG]]},
    ),
    Case("5 MB key", lambda trace: request(span(trace, 1, kv("k" * _BIG, 1))), facts=_ONE),
    Case(
        "bytearray as numbers",
        lambda trace: request(
            span(
                trace,
                1,
                KeyValue(
                    key="state",
                    value=AnyValue(
                        array_value=ArrayValue(values=[AnyValue(int_value=n % 256) for n in range(200_000)])
                    ),
                ),
            )
        ),
        facts={
            "SELECT json_array_length(decode(bytes)) FROM content WHERE run_id = $run AND name = 'state'": [[200_000]]
        },
    ),
    Case(
        "lists and maps",
        lambda trace: request(
            span(
                trace,
                1,
                KeyValue(
                    key="m",
                    value=AnyValue(
                        kvlist_value=KeyValueList(values=[kv("a", 1), kv("b", float("nan")), kv("c", b"\x00")])
                    ),
                ),
            )
        ),
        facts={
            "SELECT json_extract_string(attributes, '$.m') FROM nodes WHERE run_id = $run": [
                ['{"a":1,"b":null,"c":"AA=="}']
            ]
        },
    ),
    Case("invalid UTF-8", lambda trace: raw_span(trace, field_bytes(5, b"\xed\xa0\x80")), "INVALID_ARGUMENT"),
    Case(
        "NUL in names and values",
        lambda trace: request(span(trace, 1, kv("a\0b", "c\0d"), name="n\0m")),
        facts={"SELECT name = 'n' || chr(0) || 'm' FROM nodes WHERE run_id = $run": [[True]]},
    ),
    Case("NUL in a run id", lambda trace: ours(trace, "a\0b", kv(names.RECORD, "ended")), run_id="a\0b", facts=_ONE),
    Case(
        "NaN and infinities",
        lambda trace: request(
            span(
                trace,
                1,
                kv("nan", float("nan")),
                kv("inf", float("inf")),
                kv("minus", float("-inf")),
                kv("tiny", 5e-324),
            )
        ),
        facts={_attributes_of("json_extract_string(attributes, '$.tiny')"): [["5e-324"]]},
    ),
    Case(
        "time 0",
        lambda trace: request(span(trace, start_time_unix_nano=0, end_time_unix_nano=0)),
        facts={_FAR: [[True, None, None]]},
    ),
    Case(
        "time 2^63 - 1",
        lambda trace: request(span(trace, start_time_unix_nano=2**63 - 1, end_time_unix_nano=2**63 - 1)),
        facts={_FAR: [[False, 2**63 - 1, 2**63 - 1]]},
    ),
    Case(
        "time 2^63",
        lambda trace: request(span(trace, start_time_unix_nano=2**63, end_time_unix_nano=2**63)),
        facts={_FAR: [[True, None, None]]},
    ),
    Case(
        "time 2^64 - 1",
        lambda trace: request(span(trace, start_time_unix_nano=2**64 - 1, end_time_unix_nano=1)),
        facts={_FAR: [[True, None, 1]]},
    ),
    Case(
        "ends before it starts",
        lambda trace: request(span(trace, end_time_unix_nano=5)),
        facts={_attributes_of("latency_ms"): [[0.0]]},
    ),
    Case("its own parent", lambda trace: request(span(trace, parent_span_id=(1).to_bytes(8, "big"))), facts=_ONE),
    Case(
        "parent cycle",
        lambda trace: request(*[span(trace, n, parent_span_id=(n % 3 + 1).to_bytes(8, "big")) for n in (1, 2, 3)]),
        facts={_COUNT: [[3]]},
    ),
    Case("1,000 spans deep", lambda trace: chain(trace, 1000), facts={_COUNT: [[1000]]}),
    Case("1,000 values deep", lambda trace: deep_bytes(trace, 1000), "INVALID_ARGUMENT"),
    Case("20 values deep", lambda trace: request(span(trace, 1, KeyValue(key="deep", value=nested(20)))), facts=_ONE),
    Case(
        "200 attributes",
        lambda trace: request(span(trace, 1, *[kv(f"a{n}", n) for n in range(200)])),
        facts={"SELECT len(json_keys(attributes)) FROM nodes WHERE run_id = $run": [[200]]},
    ),
    Case(
        "duplicate keys",
        lambda trace: request(
            span(
                trace, 1, kv("twice", "x" * 20_000), kv("twice", "small"), kv("back", "small"), kv("back", "y" * 20_000)
            )
        ),
        facts={
            _LARGE: [["back", 20_000]],
            "SELECT json_extract_string(attributes, '$.twice') FROM nodes WHERE run_id = $run": [["small"]],
        },
    ),
    Case("huge resource", lambda trace: request(span(trace), resource=(kv("big", "x" * _BIG),)), facts=_ONE),
    Case(
        "huge service name",
        lambda trace: request(span(trace), span(trace, 2), resource=(kv(names.PROJECT, "p" * _BIG),)),
        rejected=2,
    ),
    Case(
        "huge tags",
        lambda trace: ours(trace, "tagged", resource=(kv(names.TAG_PREFIX + "t", "x" * _BIG),)),
        rejected=1,
        run_id="tagged",
    ),
    Case(
        "empty names",
        lambda trace: request(span(trace, 1, kv("", ""), name="")),
        facts={_attributes_of("name"): [[""]]},
    ),
    Case(
        "10,000 links",
        lambda trace: request(linked(trace, 10_000)),
        facts={"SELECT json_array_length(links) FROM nodes WHERE run_id = $run": [[10_000]]},
    ),
    Case("links to nothing", lambda trace: request(links_to_nothing(trace)), facts={_attributes_of("links"): [[None]]}),
    Case(
        "a record of no known kind",
        lambda trace: ours(trace, "odd-kind", kv(names.RECORD, "nonsense")),
        run_id="odd-kind",
        facts={_NONSENSE: [["foreign", 1]]},
    ),
    Case(
        "a record kind that is a number",
        lambda trace: ours(trace, "number-kind", kv(names.RECORD, "ended"), kv(names.RECORD, 7)),
        run_id="number-kind",
        facts={_NONSENSE: [["foreign", 1]]},
    ),
    Case(
        "a record without a run",
        lambda trace: request(span(trace, 1, kv(names.RECORD, "ended"))),
        facts={_NONSENSE: [["foreign", 1]]},
    ),
    Case(
        "columns of other types",
        lambda trace: ours(
            trace,
            "types",
            kv(names.RECORD, "ended"),
            kv(names.TRY, "two"),
            kv(names.EFFECT, 3),
            kv(names.INPUT_TOKENS, 1.5),
            kv(names.NODE_TYPE, True),
            kv(names.MODEL, b"\xff"),
            kv(names.OUTPUT, 7),
        ),
        run_id="types",
        facts={_NONSENSE: [["ended", 1]]},
    ),
    Case(
        "numbers at their ends",
        lambda trace: ours(
            trace,
            "ends",
            kv(names.RECORD, "started"),
            kv(names.TRY, 2**63 - 1),
            kv(names.OCCURRENCE, -(2**63)),
            kv(names.WRITER, "w"),
            kv(names.WRITER_SEQ, -(2**63)),
        ),
        run_id="ends",
        facts={_NONSENSE: [["started", 1]]},
    ),
    Case(
        "an epoch at its end",
        lambda trace: ours(trace, "epoch", kv(names.RECORD, "ended"), resource=(kv(names.EPOCH, 2**63 - 1),)),
        rejected=1,
        run_id="epoch",
    ),
    Case(
        "an attempt that is a truth value",
        lambda trace: ours(trace, "truth", kv(names.RECORD, "ended"), resource=(kv(names.ATTEMPT, True),)),
        rejected=1,
        run_id="truth",
    ),
    Case(
        "a negative generation",
        lambda trace: ours(trace, "negative", kv(names.RECORD, "ended"), resource=(kv(names.GENERATION, -1),)),
        rejected=1,
        run_id="negative",
    ),
    Case(
        "a writer that is a number",
        lambda trace: ours(trace, "writer", kv(names.RECORD, "ended"), kv(names.WRITER, 7), kv(names.WRITER_SEQ, True)),
        run_id="writer",
        facts={_NONSENSE: [["ended", 1]]},
    ),
    Case(
        "a writer that is large",
        lambda trace: ours(trace, "wide", kv(names.RECORD, "ended"), kv(names.WRITER, "w" * 20_000)),
        run_id="wide",
        facts=_ONE | {_LARGE: []},
    ),
    Case(
        "a log_seq of its own",
        lambda trace: ours(
            trace, "seq", kv(names.RECORD, "ended"), kv("log_seq", 2**63 - 1), kv("livespan.log_seq", -5)
        ),
        run_id="seq",
        facts={"SELECT log_seq > 0 AND log_seq < 1000000000 FROM nodes WHERE run_id = $run": [[True]]},
    ),
    Case(
        "a forged lease",
        lambda trace: ours(
            trace,
            "leased",
            kv(names.RECORD, "lease"),
            kv(names.LEASE_EVENT, "granted"),
            kv(names.HOLDER, '{"pid":-1,"start_time_ticks":0,"boot_id":"","pid_namespace":0,"host":""}'),
            resource=(kv(names.EPOCH, 9),),
        ),
        rejected=1,
        run_id="leased",
    ),
    Case("a scope's end by nobody", failed_root, run_id="nobody", facts=_ONE),
    Case(
        "a checkpoint without a state",
        lambda trace: ours(trace, "stateless", kv(names.RECORD, "checkpoint")),
        run_id="stateless",
        facts={_NONSENSE: [["checkpoint", 1]]},
    ),
    Case(
        "a state that is a list",
        lambda trace: ours(trace, "listed", kv(names.RECORD, "checkpoint"), KeyValue(key=names.STATE, value=nested(3))),
        run_id="listed",
        facts={_NONSENSE: [["checkpoint", 1]]},
    ),
    Case(
        "a run id of two lines",
        lambda trace: ours(trace, "two\nlines\x1b[31m'; --", kv(names.RECORD, "started"), kv(names.EFFECT, True)),
        run_id="two\nlines\x1b[31m'; --",
        facts=_ONE,
    ),
    Case(
        "unknown fields",
        lambda trace: raw_span(trace, b"\xd2\x3e\x05hello" + struct.pack("<BQ", 0x39, START_NS)),
        facts=_ONE,
    ),
)
HEAVY: Final = Case(
    "100,000 spans in one request",
    lambda trace: request(*[span(trace, n) for n in range(1, 100_001)]),
    facts={_COUNT: [[100_000]]},
)
