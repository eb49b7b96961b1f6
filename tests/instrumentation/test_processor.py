from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from tests.livespan_home import LiveHome, wait_until

from livespan.instrumentation import said_once
from livespan.instrumentation.masking import Masked
from livespan.instrumentation.process_defaults import forget_process_defaults, say_process_defaults
from livespan.instrumentation.processor import LivespanSpanProcessor
from livespan.instrumentation.settings import agent_settings
from livespan.proto import attributes as names
from livespan.proto.home import Home
from livespan.proto.record import Record, RecordKind


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


def foreign(live: LiveHome, count: int) -> list[Record]:
    """Wait for that many foreign spans of the run `theirs`, and return them."""

    def come() -> bool:
        history = live.inside.history("theirs", "shop")
        return history is not None and len(history.foreign) >= count

    wait_until(come)
    history = live.inside.history("theirs", "shop")
    assert history is not None
    return history.foreign


def raw(live: LiveHome, record: Record) -> Span:
    return Span.FromString(live.inside.context.history.content(record, "span"))


def test_spans_of_a_genai_instrumentation_arrive_whole_bytes_and_two_hundred_attributes_included(
    live: LiveHome,
) -> None:
    live.serve()
    provider = TracerProvider(
        resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}),
        span_limits=SpanLimits(max_span_attributes=300),
    )
    provider.add_span_processor(processor(live.home))
    tracer = provider.get_tracer("opentelemetry.instrumentation.openai")
    state = bytes(range(256)) * 40
    with tracer.start_as_current_span("invoke_agent shop") as agent:
        agent.set_attribute("gen_ai.operation.name", "invoke_agent")
        with tracer.start_as_current_span("chat gpt") as chat:
            chat.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.request.model": "gpt",
                    "gen_ai.usage.input_tokens": 11,
                    "gen_ai.response.finish_reasons": ("stop",),
                    "gen_ai.request.temperature": 0.5,
                }
            )
            chat.set_attribute("livespan.state", state)
            for number in range(200):
                chat.set_attribute(f"extra.{number}", number)
    provider.shutdown()
    records = {record.name: record for record in foreign(live, 2)}
    child, parent = raw(live, records["gpt"]), raw(live, records["invoke_agent shop"])
    assert child.parent_span_id == parent.span_id
    values = {pair.key: pair.value for pair in child.attributes}
    assert len(values) == 206
    assert values["livespan.state"].bytes_value == state
    assert values["gen_ai.usage.input_tokens"].int_value == 11
    assert values["gen_ai.response.finish_reasons"].array_value.values[0].string_value == "stop"
    assert values["extra.199"].int_value == 199


def test_spans_that_were_not_sampled_are_left_to_their_sampler(live: LiveHome) -> None:
    spooling = processor(live.home)
    provider = TracerProvider(sampler=RecordOnly())
    provider.add_span_processor(spooling)
    provider.get_tracer("theirs").start_span("recorded, not sampled").end()
    provider.shutdown()
    assert (spooling.dropped, spooling._ties) == ({}, None)  # pyright: ignore[reportPrivateUsage]  # nothing was spooled


class RecordOnly(Sampler):
    def should_sample(self, *args: object, **kwargs: object) -> SamplingResult:
        del args, kwargs
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "records and samples nothing"


def test_after_shutdown_nothing_is_taken_and_what_was_taken_still_arrives(live: LiveHome) -> None:
    live.serve()
    provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
    spooling = processor(live.home)
    provider.add_span_processor(spooling)
    late = provider.get_tracer("theirs").start_span("late")
    provider.get_tracer("theirs").start_span("early").end()
    assert provider.force_flush(1)
    provider.shutdown()
    late.end()
    spooling.on_end(late)  # type: ignore[arg-type]  # a span of the SDK
    assert [record.name for record in foreign(live, 1)] == ["early"]
    assert spooling.dropped == {}


FORKED = """
import os, sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
import livespan.instrumentation as ls

provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
provider.add_span_processor(ls.LivespanSpanProcessor())
tracer = provider.get_tracer("theirs")
tracer.start_span("before").end()
child = os.fork()
tracer.start_span("child" if not child else "parent").end()
if not child:
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
os.kill(os.getpid(), 9)
"""


def test_spans_of_a_forked_child_and_of_processes_that_are_killed_arrive(live: LiveHome) -> None:
    live.serve()
    live.program(FORKED)
    assert sorted(record.name for record in foreign(live, 3)) == ["before", "child", "parent"]


def hide(text: str, where: Masked) -> str:
    assert where.name
    return text.replace("4242", "****")


def test_every_text_of_a_span_is_shown_to_the_mask(live: LiveHome) -> None:
    live.serve()
    settings = replace(agent_settings({"LIVESPAN_HOME": str(live.home.root)}), mask=hide)
    provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
    provider.add_span_processor(LivespanSpanProcessor(settings))
    with (
        pytest.raises(ValueError, match="4242"),
        provider.get_tracer("theirs").start_as_current_span("chat", attributes={"gen_ai.input.messages": "card 4242"}),
    ):
        trace.get_current_span().set_attribute("many", ["4242", "b"])
        raise ValueError("no 4242")
    provider.shutdown()
    [record] = foreign(live, 1)
    found = raw(live, record)
    assert b"4242" not in found.SerializeToString()
    assert {pair.key: pair.value.string_value for pair in found.attributes}["gen_ai.input.messages"] == "card ****"
    assert found.events[0].name == "exception"


def test_a_mask_that_instrument_says_later_holds_for_a_processor_that_was_there_before(
    live: LiveHome, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve()
    monkeypatch.setenv("LIVESPAN_HOME", str(live.home.root))
    provider.add_span_processor(LivespanSpanProcessor())
    say_process_defaults(hide, None)
    try:
        provider.get_tracer("theirs").start_span("chat", attributes={"card": "4242"}).end()
    finally:
        forget_process_defaults()
    [record] = foreign(live, 1)
    assert raw(live, record).attributes[0].value.string_value == "****"


def test_texts_of_the_resource_are_shown_to_the_mask_but_for_what_names_the_run(live: LiveHome) -> None:
    live.serve()
    settings = replace(agent_settings({"LIVESPAN_HOME": str(live.home.root)}), mask=hide)
    words = {"process.command_args": ("agent.py", "--card=4242"), "host.name": "h4242", "service.name": "shop"}
    provider = TracerProvider(resource=Resource({**words, "livespan.run.id": "theirs"}))
    provider.add_span_processor(LivespanSpanProcessor(settings))
    for _ in range(2):
        provider.get_tracer("theirs").start_span("chat").end()
    provider.shutdown()
    assert len(foreign(live, 2)) == 2
    written = b"".join(path.read_bytes() for path in live.home.root.rglob("*.seg"))
    assert b"4242" not in written
    assert b"--card=****" in written


def test_what_made_a_span_comes_with_it(live: LiveHome, provider: TracerProvider) -> None:
    live.serve()
    provider.add_span_processor(processor(live.home))
    for name in ("openinference.instrumentation.openai", "openinference.instrumentation.langchain", "ours"):
        provider.get_tracer(name, "1.2").start_span("chat").end()
    found = {record.text(names.FRAMEWORK) for record in foreign(live, 3)}
    assert found == {"openai", "langchain", ""}


def test_a_drain_that_was_killed_is_started_again(live: LiveHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livespan.instrumentation.processor._KICK_S", 0.0)
    live.serve()
    provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
    provider.add_span_processor(processor(live.home))
    tracer = provider.get_tracer("theirs")
    tracer.start_span("one").end()
    foreign(live, 1)
    live.kill("drain")
    tracer.start_span("two").end()
    foreign(live, 2)
    provider.shutdown()


def test_a_drain_that_was_killed_after_the_last_span_is_started_again_at_the_shutdown(live: LiveHome) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop", "livespan.run.id": "theirs"}))
    provider.add_span_processor(processor(live.home))
    provider.get_tracer("theirs").start_span("one").end()
    wait_until(lambda: live.pids("drain"))
    live.kill("drain")
    live.serve()
    provider.shutdown()
    foreign(live, 1)


def test_a_span_that_cannot_be_encoded_is_dropped_and_counted(live: LiveHome, provider: TracerProvider) -> None:
    spooling = processor(live.home)
    spooling.on_end(object())  # type: ignore[arg-type]  # what is tested: nothing of it reaches the program
    assert sum(spooling.dropped.values()) == 1
