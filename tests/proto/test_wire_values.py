from __future__ import annotations

import random

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from livespan.proto import attributes as names
from livespan.proto.otlp import Request
from livespan.proto.wire_values import Unplain, plain_large_values

_LARGE = names.LARGE_BYTES
_RECORD = KeyValue(key=names.RECORD, value=AnyValue(string_value="ended"))


def _pair(source: random.Random, name: str) -> KeyValue:
    """Return an attribute of any kind; a state is text or bytes."""
    return KeyValue(key=name, value=_value(source, 3 if name == names.STATE else 6))


def _value(source: random.Random, kinds: int) -> AnyValue:
    size = source.choice((0, 1, 200, _LARGE // 16, _LARGE // 16 + 1, _LARGE, _LARGE + 1, 3 * _LARGE))
    match source.randrange(kinds):
        case 0:
            return AnyValue(string_value="x" * size)
        case 1:
            return AnyValue(string_value="ä" * (size // 2))
        case 2:
            return AnyValue(bytes_value=bytes(size))
        case 3:
            return AnyValue(int_value=source.choice((-1, 0, 1 << 40)))
        case 4:
            return AnyValue(double_value=0.5)
        case _:
            return AnyValue(bool_value=True)


def _request(*spans: Span) -> bytes:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.append(KeyValue(key=names.RUN_ID, value=AnyValue(string_value="r")))
    for span in spans:
        group.scope_spans.add().spans.append(span)
    return made.SerializeToString()


def _span(*pairs: KeyValue) -> Span:
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n" * 300, start_time_unix_nano=1, end_time_unix_nano=2)
    span.attributes.extend([_RECORD, *pairs])
    span.links.add(trace_id=b"t" * 16, span_id=b"l" * 8)
    return span


def _agree(payload: bytes, wanted: frozenset[int]) -> None:
    expected = [each for each in Request(payload).larges() if each[0] in wanted]
    found = plain_large_values(payload, wanted)
    assert [(span, name, bytes(value)) for span, name, value in found] == expected


def test_it_says_what_the_parser_says_of_whatever_is_written_plainly() -> None:
    source = random.Random(5)
    named = [names.STATE, names.INPUT, names.OUTPUT, names.WRITER, "other"]
    for _ in range(200):
        spans = [
            _span(*[_pair(source, name) for name in source.sample(named, source.randrange(6))])
            for _ in range(source.randrange(4))
        ]
        _agree(_request(*spans), frozenset(source.sample(range(4), 2)))


@pytest.mark.parametrize(
    "pairs",
    [
        (
            KeyValue(key=names.INPUT, value=AnyValue(string_value="x" * 3 * _LARGE)),
            KeyValue(key=names.INPUT, value=AnyValue(string_value="short")),
        ),
        (
            KeyValue(
                key=names.INPUT,
                value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="\x01" * 3000)])),
            ),
        ),
        (KeyValue(key=names.INPUT),),
        (KeyValue(value=AnyValue(int_value=3)),),
        (KeyValue(key=names.STATE, value=AnyValue(int_value=3)),),
    ],
    ids=["a name that comes twice", "a list", "no value", "no name", "a state that is a number"],
)
def test_it_leaves_to_the_parser_what_only_the_parser_can_tell(pairs: tuple[KeyValue, ...]) -> None:
    with pytest.raises(Unplain):
        plain_large_values(_request(_span(*pairs)), frozenset({0}))


def test_it_leaves_to_the_parser_what_is_cut_off_or_broken_anywhere() -> None:
    whole = _request(_span(KeyValue(key=names.STATE, value=AnyValue(bytes_value=bytes(300)))))
    source = random.Random(6)
    for end in range(len(whole)):
        with pytest.raises(Unplain):
            plain_large_values(whole[:end] or b"\x0b", frozenset({0}))
    for _ in range(2000):
        broken = bytearray(whole)
        broken[source.randrange(len(whole))] = source.randrange(256)
        try:
            found = plain_large_values(bytes(broken), frozenset({0}))
            request = Request(bytes(broken))
        except Exception as error:  # which of the two refuses it does not matter
            assert not isinstance(error, IndexError | MemoryError)
            continue
        kinds = dict(request.kinds())
        if kinds.get(0) is not None and kinds[0] != "foreign":
            assert [(span, name, bytes(value)) for span, name, value in found] == list(request.larges())


def test_a_small_text_that_is_called_state_is_in_the_record_and_not_here() -> None:
    _agree(_request(_span(KeyValue(key=names.STATE, value=AnyValue(string_value="short")))), frozenset({0}))
