"""`--forward`: a second real collector, or a stock-like receiver, stands for the user's backend."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.collector.stand import STATE, Writer, node, request
from tests.livespan_home import Inside, LiveHome, wait_until

from livespan.collector.cli import livespan, run_command
from livespan.collector.forward.complete import Completer
from livespan.collector.forward.forwarder import Forwarder
from livespan.collector.forward.sequence import ServedUpTo
from livespan.collector.forward.target import ForwardProtocol, parse_target
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.client import CollectorClient
from livespan.proto import attributes as names
from livespan.proto.errors import InvalidInput
from livespan.proto.measured import Family
from livespan.proto.otlp import Request
from livespan.proto.record import RecordKind

LATE = CollectorSettings(publish_s=60.0)


def texts(span: Span) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in span.attributes}


def spans_of(body: bytes) -> list[Span]:
    message = ExportTraceServiceRequest.FromString(body)
    return [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]


class GrpcBackend(TraceServiceServicer):
    """A stock OTLP/gRPC receiver; `refuse` names a span that makes it refuse the whole request for good."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.spans: list[Span] = []
        self.metadata: dict[str, str | bytes] = {}
        self.refuse = ""
        untyped: Any = grpc  # its stub leaves the handlers' types open
        self._server = untyped.server(ThreadPoolExecutor(2))
        generated: Any = trace_service_pb2_grpc  # without types
        generated.add_TraceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        self._server.start()

    def Export(  # noqa: N802  # gRPC names it
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        found = spans_of(request.SerializeToString())
        if self.refuse and any(span.name == self.refuse for span in found):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not this one")
        pairs: Any = context.invocation_metadata()
        self.metadata = dict(pairs)
        self.spans += found
        return ExportTraceServiceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stock exporter give up after a second, as its users may: else each try takes ten."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")


@pytest.fixture
def backend() -> Iterator[GrpcBackend]:
    made = GrpcBackend()
    yield made
    made.stop()


def sent(live: LiveHome, payload: bytes) -> None:
    client = CollectorClient(live.inside.collector.target)
    client.export(payload)
    client.close()


def test_a_step_becomes_one_ordinary_span_with_its_input_and_without_states(
    live: LiveHome, backend: GrpcBackend
) -> None:
    live.serve(LATE, forward=parse_target(f"http://{backend.address}", "grpc", ["X-Key=secret"]))
    writer = Writer()
    sent(
        live,
        request(
            writer.root_record(RecordKind.STARTED),
            writer.started(node(1)),
            writer.checkpoint(1),
            writer.started(node(2)),
            writer.ended(node(1), b'"ok"'),
            writer.lease("granted"),
        ),
    )
    sent(live, request(writer.ended(node(2), failed=True), writer.root_record(RecordKind.ENDED)))
    wait_until(lambda: len(backend.spans) == 3)
    one, two, root = backend.spans
    said = texts(one)
    assert (one.span_id, one.parent_span_id, one.name) == (node(1), writer.root, "charge")
    assert said[names.TOOL_ARGUMENTS] == '{"cents": 4200}'
    assert said[names.TOOL_RESULT] == '"ok"'
    assert not {names.RECORD, names.WRITER, names.STATE, names.WRITER_SEQ} & set(said)
    assert STATE not in b"".join(span.SerializeToString() for span in backend.spans)
    assert two.status.code == 2
    assert two.events[0].name == "exception"
    assert (root.span_id, root.parent_span_id) == (writer.root, b"")
    assert texts(root)[names.OPERATION] == "invoke_agent"
    assert 0 < root.start_time_unix_nano < one.start_time_unix_nano < root.end_time_unix_nano
    assert backend.metadata["x-key"] == "secret"


def test_a_foreign_span_goes_on_as_it_came(live: LiveHome, backend: GrpcBackend) -> None:
    inside = live.serve(LATE, grpc_address="127.0.0.1:0", forward=parse_target(f"grpc://{backend.address}"))
    provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
    exporter = OTLPSpanExporter(endpoint=inside.collector.grpc_address, insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("theirs", "1.2").start_as_current_span("chat gpt") as one:
        one.set_attribute("gen_ai.request.model", "gpt")
        one.set_attribute("list", ["a", "b"])
        one.set_attribute("raw", b"\x00\x01")
        one.set_attribute(names.STATE, STATE)
        one.add_event("came", {"n": 7})
    provider.shutdown()
    wait_until(lambda: backend.spans)
    [span] = backend.spans
    values = {pair.key: pair.value for pair in span.attributes}
    assert values["gen_ai.request.model"].string_value == "gpt"
    assert [item.string_value for item in values["list"].array_value.values] == ["a", "b"]
    assert values["raw"].bytes_value == b"\x00\x01"
    assert names.STATE not in values
    assert (span.events[0].name, span.events[0].attributes[0].value.int_value) == ("came", 7)
    context = one.get_span_context()
    assert (span.trace_id, span.span_id) == (context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big"))


class WebBackend(BaseHTTPRequestHandler):
    bodies: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:  # the library's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        del format, args


def test_a_backend_over_http_gets_the_same(live: LiveHome) -> None:
    WebBackend.bodies = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebBackend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        live.serve(LATE, forward=parse_target(f"http://127.0.0.1:{server.server_address[1]}"))
        writer = Writer()
        sent(live, request(writer.started(node(1)), writer.ended(node(1))))
        wait_until(lambda: WebBackend.bodies)
        path, body = WebBackend.bodies[0]
        [span] = spans_of(body)
        assert (path, texts(span)[names.TOOL_ARGUMENTS]) == ("/v1/traces", '{"cents": 4200}')
    finally:
        live.inside.stop()
        server.shutdown()
        server.server_close()


def test_a_second_collector_as_backend_is_killed_and_comes_back_and_all_steps_arrive(live: LiveHome) -> None:
    other = LiveHome()
    try:
        address = f"127.0.0.1:{free_port()}"
        first = other.serve_process("--grpc", address)
        live.serve(LATE, forward=parse_target(f"grpc://{address}"))
        writer = Writer()
        sent(live, request(writer.started(node(1)), writer.ended(node(1))))
        wait_until(lambda: number(live, "livespan_forward_spans") == 1)
        first.kill()
        first.communicate()
        began_s = time.monotonic()
        for count in range(2, 6):
            sent(live, request(writer.started(node(count)), writer.ended(node(count))))
        assert time.monotonic() - began_s < 5, "an acknowledgement has waited for the backend"
        wait_until(lambda: number(live, "livespan_forward_failing") == 1)
        second: subprocess.Popen[str] = other.serve_process("--grpc", address)
        wait_until(lambda: number(live, "livespan_forward_spans") == 5, timeout_s=60)
        second.terminate()
        second.communicate(timeout=30)
        assert foreign(other) == [node(count) for count in range(1, 6)]
        assert number(live, "livespan_forward_failing") == 0
    finally:
        other.close()


def test_a_collector_that_is_killed_leaves_nothing_unsent(live: LiveHome) -> None:
    port = free_port()
    process = live.serve_process(
        "--publish-s", "600", "--forward", f"http://127.0.0.1:{port}", "--forward-protocol", "grpc"
    )
    writer = Writer()
    client = CollectorClient(f"unix:{live.home.root}/collector.sock")
    client.export(request(writer.root_record(RecordKind.STARTED), writer.started(node(1))))
    client.export(request(writer.ended(node(1))))
    client.close()
    process.kill()
    process.communicate()
    backend = GrpcBackend(f"127.0.0.1:{port}")
    try:
        live.serve(LATE, forward=parse_target(f"grpc://127.0.0.1:{port}"))
        wait_until(lambda: len(backend.spans) == 1)
        assert texts(backend.spans[0])[names.TOOL_ARGUMENTS] == '{"cents": 4200}'
        sent(live, request(writer.root_record(RecordKind.ENDED)))
        wait_until(lambda: len(backend.spans) == 2)
        live.inside.stop()
        live.serve(LATE, forward=parse_target(f"grpc://127.0.0.1:{port}"))
        sent(live, request(writer.started(node(2)), writer.ended(node(2))))
        wait_until(lambda: len(backend.spans) == 3)
        live.inside.stop()  # it sends what waits, so that nothing more can come
        assert [span.span_id for span in backend.spans] == [node(1), writer.root, node(2)]
    finally:
        live.inside.stop()
        backend.stop()


def test_a_batch_that_the_backend_refuses_is_dropped_and_those_behind_it_arrive(
    tmp_path: Path, backend: GrpcBackend
) -> None:
    backend.refuse = "bad"
    forwarder = forwarding(tmp_path, backend)
    writer = Writer()
    forwarder.tee(*as_tee(1, writer.span(RecordKind.ENDED, node(1), name="bad")))
    forwarder.start()
    wait_until(lambda: dropped(forwarder, "refused") == 1)
    forwarder.tee(*as_tee(2, writer.ended(node(2))))
    wait_until(lambda: len(backend.spans) == 1)
    forwarder.close(5.0)
    assert backend.spans[0].span_id == node(2)


@pytest.mark.parametrize(
    ("url", "error", "hint"),
    [
        ("http://{grpc}", "BadStatusLine", "gRPC is spoken there: --forward-protocol grpc"),
        ("grpc://{http}", "StatusCode.UNAVAILABLE", "HTTP is spoken there: --forward-protocol http/protobuf"),
        ("http://127.0.0.1:9", "Connection refused", None),
    ],
)
def test_why_forwarding_fails_is_told_and_what_to_change(
    live: LiveHome,
    backend: GrpcBackend,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    error: str,
    hint: str | None,
) -> None:
    # Room for the exporter's second try, 0.8 s to 1.2 s later: it says why the first failed only as it announces that.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "4")
    web = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    answering = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    answering.start()
    forward = url.format(grpc=backend.address, http=f"127.0.0.1:{web.server_port}")
    try:
        process = live.serve_process("--log-format", "json", "--forward", forward)
        client = CollectorClient(f"unix:{live.home.root}/collector.sock")
        client.export(request(Writer().ended(node(1))))
        client.close()
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr)
        notice = next(line for line in lines if line.get("event") == "forwarding fails")
        assert error in notice["error"]
        assert notice.get("hint") == hint
        process.terminate()
        rest = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]
        assert not [line for line in rest if line["component"].startswith("opentelemetry")]
    finally:
        web.shutdown()
        answering.join()
        web.server_close()


def test_while_the_backend_is_away_the_queue_is_bounded_and_the_oldest_give_way(tmp_path: Path) -> None:
    port = free_port()
    target = parse_target(f"grpc://127.0.0.1:{port}")
    served = ServedUpTo(tmp_path / "forward.json", "b", "log")
    size = len(request(Writer().ended(node(1))))
    forwarder = Forwarder(target.exporter, "b", served, queue_bytes=size * 10, wait_s=(0.1, 0.1))
    writer = Writer()
    for number_ in range(1, 31):
        forwarder.tee(*as_tee(number_, writer.ended(node(number_))))
    assert told(forwarder.families(), "livespan_forward_queue_bytes") <= size * 10
    assert dropped(forwarder, "queue_full") >= 20
    backend = GrpcBackend(f"127.0.0.1:{port}")
    forwarder.start()
    try:
        wait_until(lambda: len(backend.spans) + dropped(forwarder, "queue_full") == 30)
        assert backend.spans[-1].span_id == node(30)
    finally:
        forwarder.close(5.0)
        backend.stop()


def test_what_was_sent_twice_by_the_drain_is_forwarded_once_and_a_settled_doubt_once() -> None:
    completer = Completer()
    writer = Writer()
    payload = request(writer.started(node(1)), writer.ended(node(1)), writer.started(node(2)))
    assert [span.span_id for _, _, span in completer.spans(Request(payload))] == [node(1)]
    assert list(completer.spans(Request(payload))) == []
    settling = request(writer.settled(node(2), "done", b"7"), writer.settled(node(1), "done"))
    [(_, _, settled)] = completer.spans(Request(settling))
    assert (settled.span_id, texts(settled)[names.TOOL_ARGUMENTS]) == (node(2), '{"cents": 4200}')


def test_starts_are_remembered_within_a_bound_and_what_is_too_large_is_left_out() -> None:
    completer = Completer(start_bytes=10_000)
    writer = Writer()
    for number_ in range(1, 101):
        list(completer.spans(Request(request(writer.started(node(number_), given=b'"%s"' % (b"x" * 500))))))
    assert completer._start_bytes <= 10_000  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    ends = request(writer.ended(node(1)), writer.ended(node(100), b'"%s"' % (b"y" * 2_000_000)))
    old, new = [span for _, _, span in completer.spans(Request(ends))]
    assert (completer.unknown_starts, completer.left_out_values) == (1, 1)
    assert names.TOOL_ARGUMENTS not in texts(old)
    assert (new.dropped_attributes_count, names.TOOL_RESULT in texts(new)) == (1, False)


@pytest.mark.parametrize(
    ("url", "endpoint", "protocol", "secure"),
    [
        ("http://localhost:4317", "localhost:4317", ForwardProtocol.GRPC, False),
        ("https://api.example.com:4317", "api.example.com:4317", ForwardProtocol.GRPC, True),
        ("grpcs://api.example.com", "api.example.com:4317", ForwardProtocol.GRPC, True),
        ("http://localhost:4318", "http://localhost:4318/v1/traces", ForwardProtocol.HTTP, False),
        (
            "https://api.example.com/otlp/v1/traces",
            "https://api.example.com/otlp/v1/traces",
            ForwardProtocol.HTTP,
            True,
        ),
        ("unix:/run/otel.sock", "unix:/run/otel.sock", ForwardProtocol.GRPC, False),
    ],
)
def test_the_url_says_how_to_speak(url: str, endpoint: str, protocol: ForwardProtocol, secure: bool) -> None:
    target = parse_target(url)
    assert (target.endpoint, target.protocol, target.secure) == (endpoint, protocol, secure)


@pytest.mark.parametrize("url", ["localhost:4317", "ftp://x", "http://", "http://x:notaport", "unix:"])
def test_what_is_no_backend_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_target(url)
    assert refused.value.hint


def test_a_collector_does_not_forward_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", "--home", str(tmp_path), "--grpc", "127.0.0.1:4317", "--forward", "http://127.0.0.1:4317"]
    assert run_command(livespan, words) == 2
    assert "to itself" in capsys.readouterr().err


def test_a_header_without_a_value_is_refused_and_the_secret_is_not_said_again() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_target("http://x:4318", headers=["=secret"])
    assert "secret" not in str(refused.value)


def test_a_stand_of_another_backend_or_log_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "forward.json"
    ServedUpTo(path, "b", "log").write(7)
    assert ServedUpTo(path, "b", "log").read() == 7
    assert ServedUpTo(path, "other", "log").read() is None
    assert ServedUpTo(path, "b", "other").read() is None


def test_a_damaged_stand_means_that_all_the_log_holds_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "forward.json"
    path.write_text("{torn")
    assert ServedUpTo(path, "b", "log").read() == 0


def test_a_collector_that_forwards_nothing_imports_nothing_for_it() -> None:
    code = (
        "import sys, livespan.collector.server, livespan.collector.commands.serve\n"
        "late = {'opentelemetry.sdk', 'prometheus_client', 'starlette', 'requests'} & set(sys.modules)\n"
        "assert not late, late\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def number(live: LiveHome, name: str) -> float:
    return told(live.inside.context.metrics.families(), name)


def dropped(forwarder: Forwarder, reason: str) -> float:
    return told(forwarder.families(), "livespan_forward_dropped_spans", reason)


def told(families: Iterable[Family], name: str, label: str = "") -> float:
    [value] = [family.samples[label] for family in families if family.name == name]
    assert isinstance(value, (int, float))
    return value


def foreign(home: LiveHome) -> list[bytes]:
    """Return the node ids that a collector has of run order-17 as foreign spans."""
    inside = Inside(home.home, LATE)
    try:
        history = inside.history("order-17", "shop")
        assert history is not None
        return sorted(record.node_id for record in history.foreign)
    finally:
        inside.stop()


def forwarding(folder: Path, backend: GrpcBackend) -> Forwarder:
    target = parse_target(f"grpc://{backend.address}")
    served = ServedUpTo(folder / "forward.json", "b", "log")
    return Forwarder(target.exporter, "b", served, queue_bytes=1 << 20, wait_s=(0.05, 0.1))


def as_tee(seq: int, *spans: Any) -> tuple[Request, int, int, int]:
    payload = request(*spans)
    return Request(payload), len(payload), seq, len(spans)


def test_a_cursor_with_a_flipped_bit_never_skips_what_was_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "forward.json"
    ServedUpTo(path, "http://b", "log").write(1234)
    good = path.read_bytes()
    assert ServedUpTo(path, "http://b", "log").read() == 1234
    for at in range(8 * len(good)):
        data = bytearray(good)
        data[at // 8] ^= 1 << at % 8
        path.write_bytes(data)
        assert ServedUpTo(path, "http://b", "log").read() in (0, 1234), bytes(data)
    path.write_bytes(b'{"target":"http://b","log":"log","seq":7}')  # from before there were sums
    assert ServedUpTo(path, "http://b", "log").read() == 7
