"""A collector that leaves: not ready, "later" on both ports with the time to wait, published, gone within its bound."""

from __future__ import annotations

import http.client
import signal
import threading
from collections.abc import Callable, Iterator

import duckdb
import msgspec
import pytest
from tests.collector.otlp_transport import Answer, Grpc, Http, request, span
from tests.collector.test_otlp_checklist import health, probe
from tests.livespan_home import LiveHome, wait_until

from livespan.collector.settings import CollectorSettings
from livespan.proto.rendezvous import is_served, read_address
from livespan.proto.rpc import open_channel

SERVING, NOT_SERVING = 1, 2


class SlowLake:
    """Holds publications up at their first step until `go_on`."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._gate = threading.Event()

    def __call__(self, step: str) -> None:
        if step == "publish.before_content":
            self.reached.set()
            assert self._gate.wait(30)

    def go_on(self) -> None:
        self._gate.set()


@pytest.fixture
def lake() -> Iterator[SlowLake]:
    slow = SlowLake()
    yield slow
    slow.go_on()


def serve(live: LiveHome, lake: SlowLake, drain_s: float = 20.0) -> None:
    live.serve(
        CollectorSettings(publish_s=600.0, drain_s=drain_s),
        grpc_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
        faults=lake,
    )


def test_while_it_publishes_both_ports_say_later(live: LiveHome, lake: SlowLake) -> None:
    serve(live, lake)
    collector = live.inside.collector
    with open_channel(collector.grpc_address) as channel:
        ways: list[Callable[[bytes], Answer]] = [
            Grpc(channel).send,
            Http(collector.http_address).send,
            Http(collector.http_address, json=True).send,
        ]
        assert [send(request(span(number + 1))).code for number, send in enumerate(ways)] == ["OK"] * 3
        assert (health(channel), probe(live, "/readyz")[0]) == (SERVING, 200)
        live.inside.leave()
        assert lake.reached.wait(10)
        assert not live.inside.ended
        assert (health(channel), probe(live, "/livez")[0]) == (NOT_SERVING, 200)
        assert probe(live, "/readyz") == (503, "the collector is leaving\n")
        for answer in [send(request(span(9))) for send in ways]:
            assert (answer.code, answer.retry_s) == ("UNAVAILABLE", 1)
            assert answer.http_status == 0 or answer.headers["retry-after"] == "1"
        lake.go_on()
        wait_until(lambda: live.inside.ended)
    assert live.inside.published is True
    assert not is_served(live.home)
    with duckdb.connect() as connection:
        connection.execute((live.home.lake / "views.sql").read_text())
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (3,)


def test_a_disk_that_hangs_does_not_keep_it(live: LiveHome, lake: SlowLake) -> None:
    serve(live, lake, drain_s=0.3)
    collector = live.inside.collector
    assert Http(collector.http_address).send(request(span())).code == "OK"
    live.inside.leave()
    wait_until(lambda: live.inside.ended)
    assert (live.inside.published, lake.reached.is_set()) == (False, True)
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection(collector.http_address, timeout=5).request("GET", "/livez")
    lake.go_on()
    wait_until(lambda: not any(thread.name == "livespan-ending" for thread in threading.enumerate()))
    collector._close_opened()  # pyright: ignore[reportPrivateUsage]  # what the process's end does elsewhere


def test_readiness_tells_of_a_full_tier_and_of_publications_that_fail(live: LiveHome, lake: SlowLake) -> None:
    serve(live, lake)
    collector = live.inside.collector
    counts = collector._publisher.counts  # pyright: ignore[reportPrivateUsage]  # what its thread counts
    counts.failure, counts.failures_in_a_row = "the lake cannot be written (No space left on device)\n  Free some", 2
    assert probe(live, "/readyz")[0] == 200
    counts.failures_in_a_row = 3
    collector._hot._limit_bytes = 0  # pyright: ignore[reportPrivateUsage]  # a tier is full when its limit is 0
    status, told = probe(live, "/readyz")
    assert (status, told.splitlines()) == (
        503,
        [
            "the hot tier is full until the next publication",
            "publishing fails: the lake cannot be written (No space left on device)",
        ],
    )
    lake.go_on()


def test_sigterm_publishes_what_came_over_http_and_withdraws_both_addresses(live: LiveHome) -> None:
    process = live.serve_process("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--publish-s", "600")
    address = read_address(live.home)
    assert address is not None
    assert Http(address.http).send(request(span())).code == "OK"
    with open_channel(address.grpc) as channel:
        assert Grpc(channel).send(request(span(2))).code == "OK"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, f"http://{address.http}" in err) == (0, True)
    assert (live.home.address.exists(), is_served(live.home)) == (False, False)
    with duckdb.connect() as connection:
        connection.execute((live.home.lake / "views.sql").read_text())
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (2,)


def test_an_http_address_that_is_taken_is_told_and_the_home_is_free_again(live: LiveHome) -> None:
    live.serve(http_address="127.0.0.1:0")
    other = LiveHome()
    try:
        taken = live.inside.collector.http_address
        process = other.start("-m", "livespan.collector", "serve", "--home", str(other.home.root), "--http", taken)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, taken in err, "listened" in err) == (4, True, True), err
        assert not is_served(other.home)
    finally:
        other.close()


def test_the_status_and_doctor_know_both_addresses(live: LiveHome) -> None:
    live.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0")
    asked = live.start("-m", "livespan.collector", "doctor", "-o", "json", "--home", str(live.home.root))
    out, err = asked.communicate(timeout=30)
    told = {
        found["name"]: found["detail"] for found in msgspec.json.decode(out, type=list[dict[str, str | bool | None]])
    }
    collector = live.inside.collector
    assert (told["grpc"], told["http"]) == (collector.grpc_address, collector.http_address), err
