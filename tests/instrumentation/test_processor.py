from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from tests.livespan_home import LiveHome, wait_until

from livespan.instrumentation import said_once
from livespan.instrumentation.processor import LivespanSpanProcessor
from livespan.instrumentation.settings import agent_settings
from livespan.proto.home import Home
from livespan.proto.record import RecordKind


@pytest.fixture
def provider(live: LiveHome) -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
    yield provider
    provider.shutdown()


def processor(home: Home) -> LivespanSpanProcessor:
    return LivespanSpanProcessor(agent_settings({"LIVESPAN_HOME": str(home.root)}))


def test_a_foreign_span_reaches_the_collector_as_it_was(live: LiveHome, provider: TracerProvider) -> None:
    live.serve()
    provider.add_span_processor(processor(live.home))
    with provider.get_tracer("theirs").start_as_current_span("chat gpt") as span:
        span.set_attribute("gen_ai.request.model", "gpt")
        span.add_event("said", {"what": "hello"})

    def found() -> bool:
        history = live.inside.history("theirs", "shop")
        return history is not None and len(history.foreign) == 1

    wait_until(found)
    history = live.inside.history("theirs", "shop")
    assert history is not None
    [record] = history.foreign
    assert (record.kind, record.name, record.writer) == (RecordKind.FOREIGN, "chat gpt", "")
    raw = Span.FromString(live.inside.context.history.content(record, "span"))
    assert raw.span_id == span.get_span_context().span_id.to_bytes(8, "big")
    assert raw.events[0].attributes[0].value.string_value == "hello"
    assert raw.attributes[0].key == "gen_ai.request.model"


def test_a_span_is_spooled_without_waiting_for_a_collector(live: LiveHome, provider: TracerProvider) -> None:
    spooling = processor(live.home)
    provider.add_span_processor(spooling)
    begun = time.monotonic()
    provider.get_tracer("theirs").start_span("early").end()
    assert time.monotonic() - begun < 0.5
    assert (spooling.dropped, spooling.force_flush()) == ({}, True)
    assert any(live.home.spool.glob("*/*"))


def test_a_span_that_finds_no_room_is_dropped_counted_and_never_raised(
    live: LiveHome, provider: TracerProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
    (tmp_path / "file").touch()
    spooling = processor(Home(tmp_path / "file"))
    provider.add_span_processor(spooling)
    for _ in range(3):
        provider.get_tracer("theirs").start_span("lost").end()
    assert spooling.dropped == {"InvalidInput": 3}
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("livespan: spans are dropped: ")
    assert str(tmp_path / "file") in line


def test_spans_that_find_the_spool_full_are_counted_by_the_spools_reason_and_told_of_once(
    live: LiveHome, provider: TracerProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
    environment = {
        "LIVESPAN_HOME": str(live.home.root),
        "LIVESPAN_SPOOL_MAX_BYTES": str(4 << 20),
        "LIVESPAN_BUDGET_MS": "1",
        "LIVESPAN_ENDPOINT": "127.0.0.1:1",
    }
    spooling = LivespanSpanProcessor(agent_settings(environment))
    provider.add_span_processor(spooling)
    tracer = provider.get_tracer("theirs")
    for _ in range(8):
        tracer.start_span("large", attributes={"text": "x" * (1 << 20)}).end()
    assert set(spooling.dropped) == {"process_cap"}
    assert spooling.dropped["process_cap"] > 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "dropped" in line]
    assert line.startswith(f"livespan: spans are dropped: {live.home.spool}: no room in the spool within 1 ms ")
    assert "LIVESPAN_SPOOL_MAX_BYTES" in line


def test_a_span_that_cannot_be_encoded_is_dropped_and_counted(live: LiveHome, provider: TracerProvider) -> None:
    spooling = processor(live.home)
    spooling.on_end(object())  # type: ignore[arg-type]  # what is tested: nothing of it reaches the program
    assert sum(spooling.dropped.values()) == 1
