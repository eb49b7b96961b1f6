"""Who asks the wrong way is told which way is right: by commands, and by `doctor`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificate import make_certificate
from tests.livespan_home import LiveHome

from livespan.collector.cli import livespan, run_command
from livespan.collector.listening import Guard


class Ports:
    """A collector behind TLS, one without, and a port where nobody listens."""

    def __init__(self, guarded: LiveHome, plain: LiveHome, folder: Path) -> None:
        self.certificate, key = make_certificate(folder)
        guard = Guard(self.certificate, key)
        tls = guarded.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0", guard=guard).collector
        bare = plain.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0").collector
        with socket.create_server(("127.0.0.1", 0)) as closed:
            self.closed = f"127.0.0.1:{closed.getsockname()[1]}"
        self.tls, self.tls_http = tls.grpc_address, tls.http_address
        self.plain, self.plain_http = bare.grpc_address, bare.http_address


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    guarded, plain = LiveHome(), LiveHome()
    try:
        yield Ports(guarded, plain, tmp_path_factory.mktemp("tls"))
    finally:
        guarded.close()
        plain.close()


WRONG_WAYS = [
    ("https", "tls", False, "set OTEL_EXPORTER_OTLP_CERTIFICATE"),
    ("http", "tls", False, "write https:// instead of http://"),
    ("https", "plain", True, "write http:// instead of https://"),
    ("https", "tls_http", True, "give the port of `serve --grpc`"),
    ("http", "plain_http", False, "give the port of `serve --grpc`"),
]


@pytest.mark.parametrize(("scheme", "port", "trusting", "hint"), WRONG_WAYS)
def test_a_wrong_way_to_a_collector_is_told_with_the_right_one(
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scheme: str,
    port: str,
    trusting: bool,
    hint: str,
) -> None:
    monkeypatch.setenv("LIVESPAN_ENDPOINT", f"{scheme}://{getattr(ports, port)}")
    if trusting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(ports.certificate))
    assert run_command(livespan, ["runs", "list"]) == 4
    assert hint in capsys.readouterr().err
    assert run_command(livespan, ["doctor", "-o", "json"]) == 1
    [finding] = json.loads(capsys.readouterr().out)
    assert (finding["ok"], hint in finding["hint"]) == (False, True)


def test_where_nobody_listens_it_is_asked_whether_the_collector_runs(
    ports: Ports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVESPAN_ENDPOINT", f"http://{ports.closed}")
    assert run_command(livespan, ["runs", "list"]) == 4
    assert "Is the collector running?" in capsys.readouterr().err
