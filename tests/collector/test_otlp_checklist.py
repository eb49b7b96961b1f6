"""The OTLP specification's checklist, line by line, over gRPC, HTTP/protobuf, HTTP/JSON and HTTP in chunks.

Source: opentelemetry-proto, docs/specification.md. Where a line is about one transport alone, its test's name says so.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import http.client
import json
import os
import struct
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.collector.otlp_transport import Grpc, Http, Transport, as_json, request, span
from tests.livespan_home import LiveHome

from livespan.collector.settings import CollectorSettings
from livespan.proto.record import Record
from livespan.proto.rpc import open_channel

MIB = 1 << 20
WAYS = ["grpc", "protobuf", "json", "chunked"]
BINARY = ["grpc", "protobuf", "chunked"]
HTTP = ["protobuf", "json"]


class Traces(Protocol):
    """Gives each test a trace of its own."""

    def __call__(self) -> bytes: ...


@pytest.fixture(scope="module")
def served() -> Iterator[LiveHome]:
    home = LiveHome()
    try:
        home.serve(CollectorSettings(publish_s=0.5), grpc_address="127.0.0.1:0", http_address="127.0.0.1:0")
        yield home
    finally:
        home.close()


@pytest.fixture
def traces() -> Traces:
    return lambda: os.urandom(16)


def way_of(home: LiveHome, name: str, channel: grpc.Channel) -> Transport:
    address = home.inside.collector.http_address
    match name:
        case "grpc":
            return Grpc(channel)
        case "protobuf":
            return Http(address)
        case "json":
            return Http(address, json=True)
        case _:
            return Http(address, chunked=True)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, served: LiveHome) -> Iterator[Transport]:
    with open_channel(served.inside.collector.grpc_address) as channel:
        yield way_of(served, request.param, channel)


@pytest.fixture(params=BINARY)
def binary(request: pytest.FixtureRequest, served: LiveHome) -> Iterator[Transport]:
    with open_channel(served.inside.collector.grpc_address) as channel:
        yield way_of(served, request.param, channel)


@pytest.fixture(params=HTTP)
def over_http(request: pytest.FixtureRequest, served: LiveHome) -> Http:
    return Http(served.inside.collector.http_address, json=request.param == "json")


def stored(home: LiveHome, trace: bytes) -> list[Record]:
    history = home.inside.history(trace.hex(), "")
    return list(history.foreign) if history is not None else []


def stored_spans(home: LiveHome, trace: bytes) -> list[Span]:
    content = home.inside.context.history.content
    return [Span.FromString(content(record, "span")) for record in stored(home, trace)]


# Requests and their success.


def test_an_export_is_stored_as_it_was_sent(served: LiveHome, way: Transport, traces: Traces) -> None:
    sent = Span(
        trace_id=traces(),
        span_id=b"\x01" * 8,
        parent_span_id=b"\x02" * 8,
        trace_state="a=b",
        flags=257,
        name="chat é\0",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=(1 << 53) + 1,
        end_time_unix_nano=(1 << 63) - 1,
        attributes=[
            KeyValue(key="text", value=AnyValue(string_value="é\n")),
            KeyValue(key="yes", value=AnyValue(bool_value=True)),
            KeyValue(key="large", value=AnyValue(int_value=-(1 << 63))),
            KeyValue(key="half", value=AnyValue(double_value=0.5)),
            KeyValue(key="endless", value=AnyValue(double_value=float("-inf"))),
            KeyValue(key="bytes", value=AnyValue(bytes_value=b"\xff\xfe\0")),
            KeyValue(key="empty", value=AnyValue()),
            KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=0)]))),
            KeyValue(
                key="map",
                value=AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(string_value=""))])),
            ),
        ],
        dropped_attributes_count=3,
        events=[Span.Event(time_unix_nano=5, name="exception", dropped_attributes_count=1)],
        dropped_events_count=4,
        links=[Span.Link(trace_id=b"l" * 16, span_id=b"m" * 8, trace_state="c=d", flags=1)],
        dropped_links_count=(1 << 32) - 1,
        status=Status(message="no", code=Status.STATUS_CODE_ERROR),
    )
    assert way.send(request(sent)).code == "OK"
    assert stored_spans(served, sent.trace_id) == [sent]


def test_full_success_leaves_partial_success_unset(way: Transport, traces: Traces) -> None:
    answer = way.send(request(span(trace=traces())))
    assert (answer.code, answer.partial) == ("OK", None)


def test_an_empty_request_succeeds(way: Transport) -> None:
    for payload in (b"", request()):
        answer = way.send(payload)
        assert (answer.code, answer.partial) == ("OK", None)


def test_what_cannot_be_stored_is_rejected_in_part_and_the_rest_is_stored(
    served: LiveHome, way: Transport, traces: Traces
) -> None:
    trace = traces()
    answer = way.send(request(span(1, trace=trace), Span(trace_id=bytes(16), span_id=b"x" * 8), span(2, trace=trace)))
    assert answer.code == "OK"
    assert answer.partial is not None
    assert answer.partial.rejected_spans == 1
    assert "span 1: trace_id" in answer.partial.error_message
    assert len(stored(served, trace)) == 2


def test_an_acknowledged_request_that_comes_again_is_stored_once(
    served: LiveHome, way: Transport, traces: Traces
) -> None:
    trace = traces()
    for _ in range(2):
        assert way.send(request(span(1, trace=trace), span(2, trace=trace))).code == "OK"
    assert len(stored(served, trace)) == 2


def test_gzip_is_taken(served: LiveHome, way: Transport, traces: Traces) -> None:
    trace = traces()
    assert way.send(request(span(trace=trace)), zipped=True).code == "OK"
    assert len(stored(served, trace)) == 1


def test_many_spans_in_one_request_are_all_stored(served: LiveHome, way: Transport, traces: Traces) -> None:
    trace = traces()
    assert way.send(request(*[span(number, trace=trace) for number in range(1, 5001)])).code == "OK"
    assert len(stored(served, trace)) == 5000


# What is refused for good.


def test_bad_data_is_refused_for_good(binary: Transport) -> None:
    for payload in (b"\xff" * 20, request(span())[:-1]):
        answer = binary.send(payload)
        assert (answer.code, answer.retry_s, answer.http_status) == (
            "INVALID_ARGUMENT",
            None,
            0 if isinstance(binary, Grpc) else 400,
        )
        assert answer.message


def test_a_body_above_the_limit_is_refused_for_good(binary: Transport) -> None:
    answer = binary.send(b"\0" * (64 * MIB + 1))
    assert (answer.code, answer.retry_s) == ("RESOURCE_EXHAUSTED", None)
    assert "google.rpc.retryinfo-bin" not in answer.trailers
    if isinstance(binary, Http):
        assert (answer.http_status, "retry-after" in answer.headers) == (413, False)


def test_the_limit_is_measured_after_decompression(binary: Transport) -> None:
    answer = binary.send_bomb(64 * MIB + 1)
    assert (answer.code, answer.retry_s) == ("RESOURCE_EXHAUSTED", None)
    if isinstance(binary, Http):
        assert answer.http_status == 413


@pytest.mark.parametrize("way_name", ["grpc", "chunked"])
def test_a_body_of_nearly_the_limit_is_taken(served: LiveHome, traces: Traces, way_name: str) -> None:
    large = span(trace=traces())
    large.attributes.append(KeyValue(key="state", value=AnyValue(bytes_value=bytes(60 * MIB))))
    with open_channel(served.inside.collector.grpc_address) as channel:
        assert way_of(served, way_name, channel).send(request(large), zipped=True).code == "OK"
    assert len(stored(served, large.trace_id)) == 1


@pytest.mark.parametrize("way_name", ["grpc", "protobuf"])
def test_a_bomb_is_never_held_in_memory(way_name: str, tmp_path: Path) -> None:
    home = LiveHome()
    try:
        process = home.serve_process("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
        address = json.loads(home.home.address.read_bytes())
        with open_channel(address["grpc"]) as channel:
            way: Transport = Grpc(channel) if way_name == "grpc" else Http(address["http"])
            assert way.send(request(span())).code == "OK"
            before = peak_bytes(process)
            assert way.send_bomb(500 * MIB).code == "RESOURCE_EXHAUSTED"
            assert peak_bytes(process) - before < 200 * MIB
            assert way.send(request(span(2))).code == "OK"
    finally:
        home.close()


def peak_bytes(process: subprocess.Popen[str]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has no peak")


# What is refused for now.


def test_later_is_said_with_the_time_to_wait(served: LiveHome, way: Transport, traces: Traces) -> None:
    hot = served.inside.collector._hot  # pyright: ignore[reportPrivateUsage]  # a tier is full when its limit is 0
    limit, hot._limit_bytes = hot._limit_bytes, 0  # pyright: ignore[reportPrivateUsage]  # as above
    trace = traces()
    try:
        answer = way.send(request(span(trace=trace)))
    finally:
        hot._limit_bytes = limit  # pyright: ignore[reportPrivateUsage]  # as above
    assert (answer.code, answer.retry_s) == ("UNAVAILABLE", 1)
    if isinstance(way, Http):
        assert (answer.http_status, answer.headers["retry-after"]) == (503, "1")
    else:
        assert "google.rpc.retryinfo-bin" in answer.trailers  # the form that the Python exporter reads
    assert way.send(request(span(trace=trace))).code == "OK"


def test_who_sends_more_than_there_is_room_for_is_told_later(served: LiveHome, way: Transport, traces: Traces) -> None:
    room = served.inside.collector._receiver.room  # pyright: ignore[reportPrivateUsage]  # another's large request
    with room.share() as others:
        others.take(128 * MIB)
        answer = way.send(request(span(trace=traces())))
    assert (answer.code, answer.retry_s) == ("UNAVAILABLE", 1)
    assert room.taken_bytes == 0
    assert way.send(request(span(trace=traces()))).code == "OK"


# OTLP/HTTP.


def test_http_answers_in_the_requests_encoding(over_http: Http, traces: Traces) -> None:
    good = over_http.send(request(span(trace=traces())))
    partial = over_http.send(request(Span()))
    bad = over_http.post(b"\xff")
    assert [answer.headers["content-type"] for answer in (good, partial, bad)] == [over_http.content_type] * 3
    assert [answer.http_status for answer in (good, partial, bad)] == [200, 200, 400]


def test_http_json_may_name_its_charset(served: LiveHome, traces: Traces) -> None:
    sender = Http(served.inside.collector.http_address, json=True)
    body = json.dumps(as_json(request(span(trace=traces())))).encode()
    assert sender.post(body, {"Content-Type": "Application/JSON; charset=utf-8"}).http_status == 200


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_http_takes_no_other_signal_and_says_so(over_http: Http, signal: str) -> None:
    answer = over_http.post(b"", path=f"/v1/{signal}")
    assert (answer.http_status, answer.code, answer.retry_s) == (404, "UNIMPLEMENTED", None)
    assert answer.headers["content-type"] == over_http.content_type
    assert "only traces" in answer.message


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/json2", "multipart/form-data"])
def test_http_refuses_other_content_types(over_http: Http, content_type: str) -> None:
    answer = over_http.post(b"{}", {"Content-Type": content_type})
    assert (answer.http_status, answer.code) == (415, "INVALID_ARGUMENT")


@pytest.mark.parametrize("content_encoding", ["br", "deflate", "gzip, gzip"])
def test_http_refuses_other_compressions_and_says_which_it_takes(over_http: Http, content_encoding: str) -> None:
    answer = over_http.post(b"{}", {"Content-Encoding": content_encoding})
    assert (answer.http_status, answer.headers["accept-encoding"]) == (415, "gzip")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_http_takes_post_alone(over_http: Http, method: str) -> None:
    answer = over_http.post(b"", method=method)
    assert (answer.http_status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("spoil", ["no gzip", "cut", "garbage behind", "empty"])
def test_http_refuses_what_is_no_gzip(over_http: Http, spoil: str) -> None:
    zipped = gzip.compress(b"{}" if over_http.content_type.endswith("json") else request(span()))
    body = {"no gzip": b"{}", "cut": zipped[:-3], "garbage behind": zipped + b"x", "empty": b""}[spoil]
    answer = over_http.post(body, {"Content-Encoding": "gzip"})
    assert (answer.http_status, answer.code) == (400, "INVALID_ARGUMENT")


def test_http_takes_gzip_of_several_members(served: LiveHome, over_http: Http, traces: Traces) -> None:
    trace = traces()
    payload = request(span(trace=trace))
    body = json.dumps(as_json(payload)).encode() if over_http.content_type.endswith("json") else payload
    halves = gzip.compress(body[:9]) + gzip.compress(body[9:])
    assert over_http.post(halves, {"Content-Encoding": "gzip"}).http_status == 200
    assert len(stored(served, trace)) == 1


def test_http_keeps_a_connection_and_answers_one_request_after_the_other(served: LiveHome, traces: Traces) -> None:
    connection = http.client.HTTPConnection(served.inside.collector.http_address, timeout=10)
    try:
        for number in range(3):
            body = request(span(number + 1, trace=traces())) if number != 1 else b"\xff"
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
            response = connection.getresponse()
            response.read()
            assert response.status == (400 if number == 1 else 200)
            assert connection.sock is not None
    finally:
        connection.close()


# OTLP's JSON.


def sent_as_json(home: LiveHome, **fields: Any) -> int:
    """Post one span of these fields; return the HTTP status."""
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "ab" * 8, **fields}]}]}]}
    return Http(home.inside.collector.http_address, json=True).post(json.dumps(document).encode()).http_status


def attributes(home: LiveHome, trace: bytes) -> dict[str, AnyValue]:
    [found] = stored_spans(home, trace)
    return {pair.key: pair.value for pair in found.attributes}


def test_json_ids_are_hex_of_any_case(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    mixed = "".join(c.upper() if at % 2 else c for at, c in enumerate(trace.hex()))
    assert sent_as_json(served, traceId=mixed, parentSpanId="CD" * 8) == 200
    [found] = stored_spans(served, trace)
    assert (found.trace_id, found.parent_span_id) == (trace, b"\xcd" * 8)


@pytest.mark.parametrize("wrong", ["zz" * 16, "ab " * 16, base64.b64encode(b"t" * 16).decode(), 7])
def test_json_ids_that_are_no_hex_are_bad_data(served: LiveHome, wrong: object) -> None:
    assert sent_as_json(served, traceId=wrong) == 400


def test_json_integers_are_numbers_or_strings(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    times = {"startTimeUnixNano": "18446744073709551615", "endTimeUnixNano": 1544712661000000000}
    pairs = [{"key": "a", "value": {"intValue": "-9223372036854775808"}}, {"key": "b", "value": {"intValue": 7}}]
    assert sent_as_json(served, traceId=trace.hex(), **times, attributes=pairs, droppedAttributesCount="9") == 200
    [found] = stored_spans(served, trace)
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == ((1 << 64) - 1, 1544712661000000000)
    assert [pair.value.int_value for pair in found.attributes] == [-(1 << 63), 7]
    assert found.dropped_attributes_count == 9


@pytest.mark.parametrize("wrong", [-1, 1 << 64, "1e3", "0x10", " 1", "", "9" * 5000, 1.5, True, [1]])
def test_json_integers_out_of_range_or_shape_are_bad_data(served: LiveHome, traces: Traces, wrong: object) -> None:
    assert sent_as_json(served, traceId=traces().hex(), startTimeUnixNano=wrong) == 400


def test_json_enums_are_numbers_alone_and_unknown_ones_are_kept(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    assert sent_as_json(served, traceId=trace.hex(), kind=77, status={"code": 2}) == 200
    [found] = stored_spans(served, trace)
    assert (int(found.kind), found.status.code) == (77, Status.STATUS_CODE_ERROR)
    assert sent_as_json(served, traceId=trace.hex(), kind="SPAN_KIND_CLIENT") == 400
    assert sent_as_json(served, traceId=trace.hex(), status={"code": "STATUS_CODE_OK"}) == 400


def test_json_unknown_fields_are_ignored_and_null_is_unset(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    assert sent_as_json(served, traceId=trace.hex(), name=None, events=None, start_time_unix_nano=5, future=[{}]) == 200
    [found] = stored_spans(served, trace)
    assert (found.name, found.start_time_unix_nano) == ("", 0)  # keys are lowerCamelCase: the other one is unknown


@pytest.mark.parametrize("text", ["//79AA==", "__79AA==", "__79AA"])
def test_json_bytes_are_base64(served: LiveHome, traces: Traces, text: str) -> None:
    trace = traces()
    assert sent_as_json(served, traceId=trace.hex(), attributes=[{"key": "b", "value": {"bytesValue": text}}]) == 200
    assert attributes(served, trace)["b"].bytes_value == b"\xff\xfe\xfd\0"


def test_json_doubles_may_be_words(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    pairs = [{"key": word, "value": {"doubleValue": word}} for word in ("NaN", "Infinity", "-Infinity", "2.5")]
    assert sent_as_json(served, traceId=trace.hex(), attributes=pairs) == 200
    found = attributes(served, trace)
    assert struct.pack("d", found["NaN"].double_value) == struct.pack("d", float("nan"))
    assert [found[word].double_value for word in ("Infinity", "-Infinity", "2.5")] == [float("inf"), -float("inf"), 2.5]


def test_json_half_a_character_costs_that_character_alone(served: LiveHome, traces: Traces) -> None:
    trace = traces()
    assert sent_as_json(served, traceId=trace.hex(), name="a\ud800b") == 200
    assert stored_spans(served, trace)[0].name == "a?b"


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud800\ud83d\ude00\udc00", "?\U0001f600?"),
        (r"\uDBFF\u0041", "?A"),
        (r"\\ud800\ud800", r"\ud800?"),
        (r"\\\ud800", "\\?"),
        (r"\"\udfff\"", '"?"'),
    ],
)
def test_json_halves_of_characters_are_told_from_whole_ones(
    served: LiveHome, traces: Traces, spelled: str, name: str
) -> None:
    trace = traces()
    fields = f'"traceId":"{trace.hex()}","spanId":"{"ab" * 8}","name":"{spelled}","traceState":"\\ud800"'
    body = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}'
    assert Http(served.inside.collector.http_address, json=True).post(body.encode()).http_status == 200
    assert stored_spans(served, trace)[0].name == name


def test_json_may_begin_with_a_byte_order_mark(served: LiveHome) -> None:
    assert Http(served.inside.collector.http_address, json=True).post(b"\xef\xbb\xbf{}").http_status == 200


@pytest.mark.parametrize(("head", "tail"), [("", ""), ('{"scopeSpans":[', "]}"), ('{"scopeSpans":[{"spans":[', "]}]}")])
def test_json_of_too_many_spans_or_groups_is_refused_before_they_are_converted(
    served: LiveHome, head: str, tail: str
) -> None:
    body = f'{{"resourceSpans":[{head}{",".join(["{}"] * 131_073)}{tail}]}}'
    answer = Http(served.inside.collector.http_address, json=True).post(body.encode())
    assert (answer.http_status, "131072 spans" in answer.message) == (400, True)


HEADS = {
    "spans": b'{"resourceSpans":[{"scopeSpans":[{"spans":[',
    "unknown": b'{"odd":"\\ud800","unknown":[',
}


@pytest.mark.parametrize("head", HEADS)
def test_json_of_a_great_many_objects_is_refused_before_they_are_made(head: str) -> None:
    home = LiveHome()
    try:
        process = home.serve_process("--http", "127.0.0.1:0")
        way = Http(json.loads(home.home.address.read_bytes())["http"], json=True)
        assert way.send(request(span())).code == "OK"
        before = peak_bytes(process)
        many = HEADS[head] + b",".join([b"{}"] * 20_000_000)
        answer = way.post(gzip.compress(many, 1), {"Content-Encoding": "gzip"})
        assert (answer.http_status, "objects" in answer.message) == (400, True)
        assert peak_bytes(process) - before < 250 * MIB
        assert way.send(request(span(2))).code == "OK"
    finally:
        home.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"resourceSpans": 1}', b"\xff{}", b'{"resourceSpans":[[]]}'])
def test_json_that_is_no_request_is_bad_data(served: LiveHome, body: bytes) -> None:
    answer = Http(served.inside.collector.http_address, json=True).post(body)
    assert (answer.http_status, answer.code) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_json_nested_too_deeply_is_bad_data(served: LiveHome, depth: int) -> None:
    opening, closing = b'{"arrayValue":{"values":[', b"]}}"
    value = opening * depth + b"{}" + closing * depth
    span_json = b'{"traceId":"' + b"ab" * 16 + b'","spanId":"' + b"cd" * 8 + b'","attributes":[{"key":"a","value":'
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + span_json + value + b"}]}]}]}]}"
    assert Http(served.inside.collector.http_address, json=True).post(body).http_status == 400


# Beside the specification: health, keepalive, the loop.


def health(channel: grpc.Channel) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types name no method
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status)


def test_health_is_served_over_both(served: LiveHome) -> None:
    with open_channel(served.inside.collector.grpc_address) as channel:
        assert health(channel) == health_pb2.HealthCheckResponse.SERVING
    assert probe(served, "/livez") == (200, "ok\n")
    assert probe(served, "/readyz") == (200, "ok\n")


def probe(home: LiveHome, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(home.inside.collector.http_address, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_client_that_pings_often_is_not_cut_off(served: LiveHome, traces: Traces) -> None:
    options = [
        ("grpc.keepalive_time_ms", 200),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    lost: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(served.inside.collector.grpc_address, options=options) as channel:
        sender = Grpc(channel)
        assert sender.send(request(span(trace=traces()))).code == "OK"
        channel.subscribe(lost.append)
        time.sleep(1.5)  # half a dozen pings, more than gRPC's default lets pass
        assert sender.send(request(span(trace=traces()))).code == "OK"
    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in lost
    assert grpc.ChannelConnectivity.IDLE not in lost


@pytest.mark.parametrize("way_name", ["grpc", "json"])
def test_a_large_request_is_the_work_of_threads_not_of_the_loop(
    served: LiveHome, traces: Traces, way_name: str
) -> None:
    payload = request(*[span(number, "n" * 100, traces()) for number in range(1, 12_001)])

    async def loop_cpu_s() -> float:
        return time.thread_time()

    def cpu_s() -> tuple[float, float]:
        loops = asyncio.run_coroutine_threadsafe(loop_cpu_s(), served.inside.loop).result(5)
        return loops, time.process_time()

    with open_channel(served.inside.collector.grpc_address) as channel, no_garbage_collection():
        loop_before, all_before = cpu_s()
        assert way_of(served, way_name, channel).send(payload).code == "OK"
        served.inside.call(served.inside.context.indexed())
        loop_after, all_after = cpu_s()
    assert loop_after - loop_before < (all_after - all_before) / 3


@contextmanager
def no_garbage_collection() -> Generator[None]:
    """Keep a walk over all objects of a whole test suite, 0.2 s of any thread, out of what is measured."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
