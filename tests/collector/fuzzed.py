"""Requests that nobody thought of, as Hypothesis draws and shrinks them: what OTLP allows and what not, then broken.

    requests ─▶ its bytes ─┬─▶ as they are           ─┐
                           └─▶ changed, cut, doubled  ├─▶ bodies
                    any bytes ────────────────────────┘
    requests ─▶ its JSON ──▶ as it is, or letters changed ─▶ json_bodies

What is drawn is bytes, so what fails is printed as bytes, and can be sent again, or become a case of hostile.py.
Hypothesis draws and shrinks a few blobs, of which each byte is a decision (`_Choices`): a strategy for each field would
be drawn some hundred times a request, and make ten requests a second instead of hundreds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from json import dumps
from typing import Final, TypeVar

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from tests.collector.otlp_transport import as_json

from livespan.proto import attributes as names
from livespan.proto.record import RecordKind

__all__ = ["bodies", "json_bodies"]

_NAMES: Final = tuple(value for name, value in vars(names).items() if name.isupper() and isinstance(value, str))
_TEXTS: Final = (
    "", "a", "\0", "\n", "\x1b[2J", "'; --", '"', "{}", '{"a":1}', "[1,", "NaN", "é\u202e\U0001f4a9", "x" * 20_000,
    "chat", "execute_tool", "done", "not_done", "granted", "TOOL", "BRANCH", "/", *[kind.value for kind in RecordKind],
)  # fmt: skip
_NUMBERS: Final = (0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63))
_TIMES: Final = (0, 1, 1_769_850_000_000_000_000, 2**63 - 1, 2**63, 2**64 - 1)
_DOUBLES: Final = (0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)
_IDS: Final = (b"", bytes(8), bytes(16), b"x", b"n" * 8, b"t" * 16, b"\xff" * 8, b"y" * 300)
_LETTERS: Final = ("", '"', "{", "}", "[", "]", "9" * 30, "null", "\\ud800", "\0")
_T = TypeVar("_T")

_REQUESTS: Final = st.lists(
    st.tuples(st.binary(min_size=20, max_size=20), st.lists(st.binary(min_size=100, max_size=100), max_size=4)),
    max_size=2,
)
"""What each group of spans says of its resource, and its spans."""
_BREAKS: Final = st.binary(min_size=30, max_size=30)


class _Choices:
    """Decisions read off bytes. Zero is the plainest, and what is read behind the end: so requests shrink with them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, end: int) -> int:
        """Return a number from 0; two bytes where one has no room for it."""
        return int.from_bytes(self.take(1 if end <= 256 else 2), "little") % end

    def of(self, options: Sequence[_T]) -> _T:
        return options[self.below(len(options))]

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at].ljust(size, b"\0")


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a request; one in three is broken, a few never were one."""
    kind = draw(st.integers(0, 11))
    if kind == 11:
        return draw(st.binary(max_size=200))
    body = _request(draw(_REQUESTS)).SerializeToString()
    return body if kind < 8 else _broken(_Choices(draw(_BREAKS)), body)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    """Draw a request as JSON, in two cases of three with a few of its characters changed, doubled or left out."""
    text = dumps(as_json(_request(draw(_REQUESTS)).SerializeToString()))
    if draw(st.integers(0, 2)):
        choices = _Choices(draw(_BREAKS))
        for _ in range(1 + choices.below(5)):
            at = choices.below(min(len(text), 65536))
            text = text[:at] + (choices.of(_LETTERS) or text[at : at + 1] * 2) + text[at + choices.below(2) :]
    return text.encode("utf-8", "surrogatepass")


def _request(groups: Sequence[tuple[bytes, Sequence[bytes]]]) -> ExportTraceServiceRequest:
    made = [
        ResourceSpans(
            resource=Resource(attributes=_resource(_Choices(resource))),
            scope_spans=[ScopeSpans(spans=[_span(_Choices(span)) for span in spans])],
        )
        for resource, spans in groups
    ]
    return ExportTraceServiceRequest(resource_spans=made)


def _resource(choices: _Choices) -> list[KeyValue]:
    run = choices.of(("r1", "r1", "r2", "", "\0", "a\nb", None))
    said = [] if run is None else [KeyValue(key=names.RUN_ID, value=AnyValue(string_value=run))]
    return [*said, *[_pair(choices) for _ in range(choices.below(4))]]


def _span(choices: _Choices) -> Span:
    good = choices.below(5) < 4
    span = Span(
        trace_id=choices.of((b"t" * 16, b"u" * 16)) if good else choices.of(_IDS),
        span_id=(choices.of((b"n" * 8, choices.take(8))) if good else choices.of(_IDS)),
        parent_span_id=choices.of((b"", b"n" * 8, b"n" * 8, *_IDS)),
        name=choices.of(_TEXTS),
        start_time_unix_nano=choices.of(_TIMES),
        end_time_unix_nano=choices.of(_TIMES),
    )
    kind = choices.of((None, None, *RecordKind))
    if kind is not None:
        span.attributes.append(KeyValue(key=names.RECORD, value=AnyValue(string_value=kind.value)))
    span.links.extend(Span.Link(trace_id=choices.of(_IDS), span_id=choices.of(_IDS)) for _ in range(choices.below(3)))
    span.events.extend(Span.Event(name=choices.of(_TEXTS)) for _ in range(choices.below(2)))
    span.attributes.extend(_pair(choices) for _ in range(choices.below(12)))
    return span


def _pair(choices: _Choices) -> KeyValue:
    return KeyValue(key=choices.of(_TEXTS if choices.below(5) == 4 else _NAMES), value=_value(choices, 4))


def _value(choices: _Choices, depth: int) -> AnyValue:
    match choices.below(8 if depth else 6):
        case 0:
            return AnyValue(string_value=choices.of(_TEXTS))
        case 1:
            return AnyValue(bool_value=choices.below(2) == 1)
        case 2:
            return AnyValue(int_value=choices.of(_NUMBERS))
        case 3:
            return AnyValue(double_value=choices.of(_DOUBLES))
        case 4:
            return AnyValue(bytes_value=choices.of((*_IDS, bytes(20_000))))
        case 5:
            return AnyValue()
        case 6:
            values = [_value(choices, depth - 1) for _ in range(choices.below(4))]
            return AnyValue(array_value=ArrayValue(values=values))
        case _:
            pairs = [
                KeyValue(key=choices.of(_TEXTS), value=_value(choices, depth - 1)) for _ in range(choices.below(4))
            ]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))


def _broken(choices: _Choices, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(1 + choices.below(5)):
        at = choices.below(min(len(data) + 1, 65536))
        match choices.below(5):
            case 0:
                data[at : at + 1] = choices.take(1)
            case 1:
                del data[at : at + 1 + choices.below(8)]
            case 2:
                data[at:at] = data[at : at + choices.below(40)]
            case 3:
                data[at : at + 8] = struct.pack("<Q", choices.of(_TIMES))
            case _:
                del data[at:]
    return bytes(data)
