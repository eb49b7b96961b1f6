"""What a port refuses before anything is parsed is counted, by reason, for the operator."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.collector.otlp_transport import Grpc, Http, Transport, request, span
from tests.livespan_home import LiveHome

from livespan.collector.listening import Guard
from livespan.collector.settings import CollectorSettings
from livespan.proto.rpc import open_channel


def refused(live: LiveHome) -> dict[str, float]:
    """Return the reasons for which something was refused, as a scrape has them."""
    text = live.inside.context.metrics.scrape().text.decode()
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "livespan_refusals_total" and sample.value
    }


@pytest.mark.parametrize("zipped", [False, True])
def test_a_body_that_is_too_large_is_counted(live: LiveHome, zipped: bool) -> None:
    live.serve(CollectorSettings(max_message_bytes=1000), http_address="127.0.0.1:0")
    sender = Http(live.inside.collector.http_address)
    answer = sender.send_bomb(5000) if zipped else sender.send(bytes(5000))
    assert answer.http_status == 413
    assert refused(live) == {"too_large": 1}


def test_a_body_of_no_known_type_is_counted(live: LiveHome) -> None:
    live.serve(http_address="127.0.0.1:0")
    assert Http(live.inside.collector.http_address).post(b"", {"Content-Type": "text/plain"}).http_status == 415
    assert refused(live) == {"invalid_request": 1}


def test_a_request_that_others_leave_no_room_for_is_counted(live: LiveHome) -> None:
    live.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0")
    collector = live.inside.collector
    room = collector._receiver.room  # pyright: ignore[reportPrivateUsage]  # another's large request
    with room.share() as others, open_channel(collector.grpc_address) as channel:
        others.take(128 << 20)
        ways: tuple[Transport, ...] = (Grpc(channel), Http(collector.http_address))
        assert [way.send(request(span())).code for way in ways] == ["UNAVAILABLE"] * 2
    assert refused(live) == {"no_room": 2}


def test_calls_without_the_token_are_counted(live: LiveHome) -> None:
    live.serve(grpc_address="127.0.0.1:0", http_address="127.0.0.1:0", guard=Guard(token="word"))  # a test's own
    collector = live.inside.collector
    with open_channel(collector.grpc_address) as channel:
        ways: tuple[Transport, ...] = (Grpc(channel), Http(collector.http_address))
        assert [way.send(request(span())).code for way in ways] == ["UNAUTHENTICATED"] * 2
    assert refused(live) == {"unauthenticated": 2}
