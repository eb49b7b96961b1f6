"""The token on every port and call, over TLS, with a real collector and real clients."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tests.certificate import make_certificate
from tests.collector.otlp_transport import Grpc, request, span
from tests.collector.test_otlp_checklist import health
from tests.livespan_home import LiveHome

from livespan.collector.bearer import Bearer
from livespan.collector.listening import Guard
from livespan.proto.access import Access, access_from
from livespan.proto.errors import InvalidInput, LivespanError, Unauthenticated
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import QueryStub, RecoveryStub

TOKEN = "s3cret-word"  # a test's own
SHOWN = (("authorization", f"Bearer {TOKEN}"),)


class Guarded:
    """A collector with TLS and a token, reachable by everybody."""

    def __init__(self, home: LiveHome, folder: Path) -> None:
        self.home = home
        self.certificate, key = make_certificate(folder)
        guard = Guard(self.certificate, key, TOKEN)
        collector = home.serve(grpc_address="0.0.0.0:0", http_address="0.0.0.0:0", guard=guard).collector
        self.grpc = f"https://localhost:{collector.grpc_address.rpartition(':')[2]}"
        self.http = f"https://localhost:{collector.http_address.rpartition(':')[2]}"

    def access(self, *headers: tuple[str, str]) -> Access:
        return Access(str(self.certificate), headers)

    def get(self, path: str, **headers: str) -> int:
        asked = urllib.request.Request(self.http + path, headers=headers)
        try:
            trusting = ssl.create_default_context(cafile=str(self.certificate))
            with urllib.request.urlopen(asked, timeout=10, context=trusting) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = LiveHome()
    try:
        yield Guarded(home, tmp_path_factory.mktemp("tls"))
    finally:
        home.close()


@pytest.mark.parametrize(
    "header", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
def test_what_is_not_the_token_is_not_taken_for_it(header: str | None) -> None:
    assert not Bearer(TOKEN).is_shown(header)
    assert Bearer(TOKEN).is_shown(f"bearer {TOKEN}")


@pytest.mark.parametrize("headers", [(), (("authorization", "Bearer wrong"),), (*SHOWN, *SHOWN)])
def test_every_service_over_tcp_asks_for_the_token(guarded: Guarded, headers: tuple[tuple[str, str], ...]) -> None:
    run = pb.RunRef(project="shop", run_id="order-17")
    with open_channel(guarded.grpc, guarded.access(*headers)) as channel:
        assert Grpc(channel).send(request(span())).code == "UNAUTHENTICATED"
        query, recovery = QueryStub(channel), RecoveryStub(channel)
        for call in (
            lambda: query.Status(pb.StatusRequest(), timeout=5),
            lambda: query.ListRuns(pb.ListRunsRequest(), timeout=5),
            lambda: list(query.Sql(pb.SqlRequest(sql="SELECT 1"), timeout=5)),
            lambda: recovery.Intend(pb.IntendRequest(run=run), timeout=5),
            lambda: list(recovery.Open(pb.OpenRequest(run=run), timeout=5)),
            lambda: list(recovery.Hold(iter([pb.HoldRequest(run=run)]), timeout=5)),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            error = translate(refused.value)
            assert isinstance(error, Unauthenticated)
            assert "LIVESPAN_TOKEN" in error.hint


def test_with_the_token_every_shape_of_call_goes_through(guarded: Guarded) -> None:
    with open_channel(guarded.grpc, guarded.access(*SHOWN)) as channel:
        assert Grpc(channel).send(request(span())).code == "OK"
        assert b"log_next_seq" in QueryStub(channel).Status(pb.StatusRequest(), timeout=5).json
        [reply] = [each for each in QueryStub(channel).Sql(pb.SqlRequest(sql="SELECT 1"), timeout=5) if each.rows]
        assert json.loads(reply.rows) == [[1]]
        held = RecoveryStub(channel).Hold(iter([pb.HoldRequest(run=pb.RunRef(project="shop", run_id="r"))]), timeout=5)
        assert next(iter(held)).epoch == 1


def test_the_unix_socket_is_guarded_by_its_mode_alone(guarded: Guarded) -> None:
    target = guarded.home.inside.collector.target
    assert Path(target.removeprefix("unix:")).stat().st_mode & 0o777 == 0o600
    with open_channel(target) as channel:
        assert Grpc(channel).send(request(span())).code == "OK"
        assert Grpc(channel).send(b"\xff").code == "INVALID_ARGUMENT"
        assert b"log_next_seq" in QueryStub(channel).Status(pb.StatusRequest(), timeout=5).json
        rows = [each for each in QueryStub(channel).Sql(pb.SqlRequest(sql="SELECT 1"), timeout=5) if each.rows]
        assert json.loads(rows[0].rows) == [[1]]
    with guarded.home.run("over-the-socket"):
        pass


def test_health_and_probes_need_no_token(guarded: Guarded) -> None:
    with open_channel(guarded.grpc, guarded.access()) as channel:
        assert health(channel) == 1
    assert [guarded.get(path) for path in ("/livez", "/readyz")] == [200, 200]


def test_http_asks_for_the_token_on_every_other_path(guarded: Guarded) -> None:
    paths = ("/v1/traces", "/", "/metrics", "/livez/", "//livez", "/livez/../v1/traces")
    assert [guarded.get(path) for path in paths] == [401] * len(paths)
    assert guarded.get("/v1/traces", Authorization=f"Bearer {TOKEN}") == 405


def send(exporter: SpanExporter) -> SpanExportResult:
    provider = TracerProvider()
    one = provider.get_tracer("theirs").start_span("chat")
    one.end()
    assert isinstance(one, ReadableSpan)
    try:
        return exporter.export([one])
    finally:
        exporter.shutdown()
        provider.shutdown()


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_stock_exporters_pass_with_otels_own_settings(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # requests would believe them before the exporter's own
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(guarded.certificate))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{token}")
    wanted = SpanExportResult.SUCCESS if token == TOKEN else SpanExportResult.FAILURE
    assert send(GrpcExporter(endpoint=guarded.grpc)) is wanted
    assert send(HttpExporter(endpoint=f"{guarded.http}/v1/traces")) is wanted


def test_an_agent_elsewhere_runs_by_the_same_settings(guarded: Guarded) -> None:
    elsewhere = LiveHome()
    source = """
import livespan.instrumentation as ls
@ls.tool
def charge(cents: int) -> int: return cents
@ls.step
def think(text: str) -> str: return text
with ls.run("order-far"):
    think("a")
    print(charge(42))
"""
    settings = {
        "LIVESPAN_ENDPOINT": guarded.grpc,
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(guarded.certificate),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
    }
    try:
        done = elsewhere.program(source, settings)
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
        history = guarded.home.inside.history("order-far")
        assert history is not None
        assert len(history.calls) >= 2
        refused = elsewhere.program(source.replace("far", "refused"), {**settings, "OTEL_EXPORTER_OTLP_HEADERS": ""})
        assert refused.returncode != 0
        assert "token is missing or wrong" in refused.stderr
    finally:
        elsewhere.close()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("sql", "SELECT 41 + 1"), "42"),
        (("recover", "--all"), "Nothing is interrupted."),
        (("run", "--id", "by-the-same", "--", "echo", "was started"), "was started"),
    ],
)
def test_commands_reach_it_by_the_same_settings(guarded: Guarded, command: tuple[str, ...], answer: str) -> None:
    words = ("-m", "livespan.collector", command[0], "--endpoint", guarded.grpc, *command[1:])
    settings = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(guarded.certificate), "LIVESPAN_TOKEN": TOKEN}
    asked = guarded.home.start(*words, environment=settings)
    out, err = asked.communicate(timeout=30)
    assert (asked.returncode, answer in out + err) == (0, True), err


def test_what_is_followed_is_shown_by_the_same_settings(guarded: Guarded) -> None:
    settings = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(guarded.certificate), "LIVESPAN_TOKEN": TOKEN}
    words = ("-m", "livespan.collector", "runs", "tail", "--endpoint", guarded.grpc)
    following = guarded.home.start(*words, environment=settings)
    assert following.stderr is not None
    assert following.stderr.readline().startswith("Following all runs")
    following.terminate()


def test_a_command_with_the_wrong_token_is_refused(guarded: Guarded) -> None:
    words = ("-m", "livespan.collector", "sql", "SELECT 41 + 1", "--endpoint", guarded.grpc)
    settings = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(guarded.certificate)}
    refused = guarded.home.start(*words, environment={**settings, "LIVESPAN_TOKEN": "wrong"})
    _, err = refused.communicate(timeout=30)
    assert (refused.returncode, "token is missing or wrong" in err) == (4, True), err


def test_access_is_read_from_otels_variables_and_the_signals_own_win() -> None:
    general = {"OTEL_EXPORTER_OTLP_HEADERS": "a=1,Authorization=Basic%20x", "OTEL_EXPORTER_OTLP_CERTIFICATE": "g.pem"}
    assert access_from({}) == Access()
    assert access_from(general) == Access("g.pem", (("a", "1"), ("authorization", "Basic x")))
    assert access_from({**general, "LIVESPAN_TOKEN": "t"}) == access_from(general)
    own = {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "t.pem"}
    assert access_from({**general, **own, "LIVESPAN_TOKEN": "t"}) == Access(
        "t.pem", (("authorization", "Bearer t"), ("b", "2"))
    )
    assert "Basic" not in repr(access_from(general))


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        open_channel("https://localhost:1", Access("/nowhere/ca.pem"))
    error: LivespanError = refused.value
    assert (error.subject, "OTEL_EXPORTER_OTLP_CERTIFICATE" in error.hint) == ("/nowhere/ca.pem", True)
