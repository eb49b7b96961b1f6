"""Requests that nobody thought of: built at random from what OTLP allows and what not, then broken byte by byte.

A request is a function of one integer, its seed, so that what went wrong can be sent again.
"""

from __future__ import annotations

import random
import struct
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from livespan.proto import attributes as names
from livespan.proto.record import RecordKind

__all__ = ["fuzzed_request"]

_NAMES: Final = tuple(value for name, value in vars(names).items() if name.isupper() and isinstance(value, str))
_TEXTS: Final = (
    "", "a", "\0", "\n", "\x1b[2J", "'; --", '"', "{}", '{"a":1}', "[1,", "NaN", "é\u202e\U0001f4a9", "x" * 20_000,
    "chat", "execute_tool", "done", "not_done", "granted", "TOOL", "BRANCH", "/", *[kind.value for kind in RecordKind],
)  # fmt: skip
_NUMBERS: Final = (0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63))
_TIMES: Final = (0, 1, 1_769_850_000_000_000_000, 2**63 - 1, 2**63, 2**64 - 1)
_DOUBLES: Final = (0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)
_IDS: Final = (b"", bytes(8), bytes(16), b"x", b"n" * 8, b"t" * 16, b"\xff" * 8, b"y" * 300)


def fuzzed_request(seed: int) -> bytes:
    """Return the bytes of a request; one in three is broken."""
    chance = random.Random(seed)
    body = _request(chance).SerializeToString()
    return _broken(chance, body) if chance.random() < 0.33 else body


def _request(chance: random.Random) -> ExportTraceServiceRequest:
    groups = [
        ResourceSpans(
            resource=Resource(attributes=_resource(chance)),
            scope_spans=[ScopeSpans(spans=[_span(chance) for _ in range(chance.randrange(5))])],
        )
        for _ in range(chance.randrange(1, 3))
    ]
    return ExportTraceServiceRequest(resource_spans=groups)


def _resource(chance: random.Random) -> list[KeyValue]:
    said = [KeyValue(key=names.RUN_ID, value=AnyValue(string_value=chance.choice(("r1", "r2", "", "\0", "a\nb"))))]
    return [*(said if chance.random() < 0.7 else ()), *[_pair(chance) for _ in range(chance.randrange(4))]]


def _span(chance: random.Random) -> Span:
    good = chance.random() < 0.8
    made = Span(
        trace_id=chance.choice((b"t" * 16, b"u" * 16)) if good else chance.choice(_IDS),
        span_id=chance.randbytes(8) if chance.random() < 0.5 else b"n" * 8 if good else chance.choice(_IDS),
        parent_span_id=b"n" * 8 if chance.random() < 0.4 else chance.choice(_IDS),
        name=chance.choice(_TEXTS),
        start_time_unix_nano=chance.choice(_TIMES),
        end_time_unix_nano=chance.choice(_TIMES),
        attributes=[_pair(chance) for _ in range(chance.randrange(12))],
        links=[
            Span.Link(trace_id=chance.choice(_IDS), span_id=chance.choice(_IDS)) for _ in range(chance.randrange(3))
        ],
        events=[Span.Event(name=chance.choice(_TEXTS)) for _ in range(chance.randrange(2))],
    )
    if chance.random() < 0.7:
        kind = chance.choice(list(RecordKind)).value
        made.attributes.append(KeyValue(key=names.RECORD, value=AnyValue(string_value=kind)))
    return made


def _pair(chance: random.Random) -> KeyValue:
    name = chance.choice(_NAMES) if chance.random() < 0.8 else chance.choice(_TEXTS)
    return KeyValue(key=name, value=_value(chance, 4))


def _value(chance: random.Random, depth: int) -> AnyValue:
    match chance.randrange(8 if depth else 6):
        case 0:
            return AnyValue(string_value=chance.choice(_TEXTS))
        case 1:
            return AnyValue(bool_value=chance.random() < 0.5)
        case 2:
            return AnyValue(int_value=chance.choice(_NUMBERS))
        case 3:
            return AnyValue(double_value=chance.choice(_DOUBLES))
        case 4:
            return AnyValue(bytes_value=chance.choice((*_IDS, bytes(20_000))))
        case 5:
            return AnyValue()
        case 6:
            values = [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
            return AnyValue(array_value=ArrayValue(values=values))
        case _:
            pairs = [
                KeyValue(key=chance.choice(_TEXTS), value=_value(chance, depth - 1)) for _ in range(chance.randrange(4))
            ]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))


def _broken(chance: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = chance.randbytes(1)
            case 2:
                del data[at : at + chance.randrange(1, 9)]
            case 3:
                data[at:at] = data[at : at + chance.randrange(40)]
            case _:
                data[at : at + 8] = struct.pack("<Q", chance.choice(_TIMES))
    return bytes(data)
