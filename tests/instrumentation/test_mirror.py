from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from tests.livespan_home import Died, LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation import mirror as mirrors
from livespan.instrumentation import said_once
from livespan.instrumentation.processor import LivespanSpanProcessor
from livespan.instrumentation.settings import agent_settings
from livespan.proto import attributes as names
from livespan.proto.errors import RunStopped
from livespan.proto.record import Record

STATE = b"state that nobody else gets"


class Declined(Exception):
    pass


@ls.step
def think(question: str) -> str:
    ls.annotate(model="gpt", input_tokens=3, output_tokens=5)
    ls.checkpoint(STATE)
    return question.upper()


@ls.tool
def charge(cents: int) -> int:
    if cents < 0:
        raise Died
    if cents == 0:
        raise Declined("nothing to charge")
    return cents


@ls.step(type="BRANCH")
def plan() -> str:
    return think("a")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def mirrored(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Return what has reached the user's exporter, by name."""
    assert mirrors._queue[0].flush(10)  # pyright: ignore[reportPrivateUsage]  # the process's, whichever run put it there
    return {span.name: span for span in exporter.get_finished_spans()}


def told(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def starts(live: LiveHome, run_id: str) -> dict[str, Record]:
    return {record.name: record for record in live.records(run_id) if record.kind == "started"}


def ends(live: LiveHome, run_id: str) -> dict[str, Record]:
    return {record.name: record for record in live.records(run_id) if record.kind == "ended"}


def test_nodes_are_mirrored_with_parents_times_attributes_and_status(
    live: LiveHome, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    live.serve()
    with (
        provider.get_tracer("theirs").start_as_current_span("request") as request,
        ls.run("mirrored", session="s1", home=live.home.root, tracer_provider=provider) as run,
    ):
        plan()
        charge(7)
        with pytest.raises(Declined):
            charge(0)
        assert run.executed == 3
    spans = mirrored(exporter)
    assert sorted(span.name for span in exporter.get_finished_spans()) == [
        "charge",
        "charge",
        "plan.0",
        "request",
        "run",
        "think",
    ]
    parents = {name: span.parent.span_id if span.parent else None for name, span in spans.items()}
    ids = {name: span.get_span_context().span_id for name, span in spans.items()}  # type: ignore[union-attr]  # all have one
    assert parents["run"] == request.get_span_context().span_id
    assert (parents["plan.0"], parents["think"], parents["charge"]) == (ids["run"], ids["plan.0"], ids["run"])
    assert {span.context.trace_id for span in spans.values() if span.context} == {request.get_span_context().trace_id}
    for name in ("think", "plan.0", "run"):
        begun, ended = starts(live, "mirrored")[name], ends(live, "mirrored")[name]
        assert (spans[name].start_time, spans[name].end_time) == (begun.started_ns, ended.ended_ns)
        assert told(spans[name])[names.NODE_ID] == begun.node_id.hex()
    said = told(spans["think"])
    assert {name: said[name] for name in (names.OPERATION, names.MODEL, names.INPUT_TOKENS, names.OUTPUT)} == {
        names.OPERATION: "chat",
        names.MODEL: "gpt",
        names.INPUT_TOKENS: 3,
        names.OUTPUT: '"A"',
    }
    assert (said[names.RUN_ID], said[names.SESSION], said[names.ATTEMPT]) == ("mirrored", "s1", 1)
    paid, declined = sorted(
        (span for span in exporter.get_finished_spans() if span.name == "charge"), key=lambda s: s.start_time or 0
    )
    assert told(paid)[names.TOOL_ARGUMENTS] == '{"cents":7}'
    assert told(paid)[names.EFFECT] is True
    assert (declined.status.status_code, declined.status.description) == (
        trace.StatusCode.ERROR,
        "nothing to charge",
    )
    assert str(told(declined)[names.ERROR_TYPE]).endswith("Declined")
    assert [event.name for event in spans["think"].events] == ["checkpoint"]
    assert STATE.decode() not in str([span.to_json() for span in exporter.get_finished_spans()])


def test_a_life_that_is_stopped_ends_what_is_open_and_the_next_mirrors_what_it_runs(
    live: LiveHome, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    live.serve()
    with pytest.raises(RunStopped), ls.run("open", home=live.home.root, tracer_provider=provider):
        think("a")
        charge(-1)
    spans = mirrored(exporter)
    assert sorted(spans) == ["charge", "run", "think"], "what was open is ended"
    assert spans["run"].end_time is not None
    exporter.clear()
    with pytest.raises(RunStopped), ls.run("lives", home=live.home.root, tracer_provider=provider):
        think("a")
        raise Died
    with ls.run("lives", home=live.home.root, tracer_provider=provider):
        think("a")
        think("b")
    mirrored(exporter)
    assert [(span.name, told(span)[names.ATTEMPT]) for span in exporter.get_finished_spans()] == [
        ("think", 1),
        ("run", 1),
        ("think", 2),
        ("run", 2),
    ], "what is answered from the record is no span"


def test_without_a_provider_nothing_is_mirrored(live: LiveHome, exporter: InMemorySpanExporter) -> None:
    live.serve()
    with live.run("off"):
        think("a")
    assert mirrored(exporter) == {}


def test_instrument_says_the_provider_of_runs_that_say_none(
    live: LiveHome, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    live.serve()
    ls.instrument(frameworks=[], tracer_provider=provider)
    try:
        with live.run("instrumented"):
            think("a")
    finally:
        ls.uninstrument()
    assert sorted(mirrored(exporter)) == ["run", "think"]


def test_their_sampler_and_limits_touch_the_mirror_and_not_the_record(live: LiveHome) -> None:
    live.serve()
    for number, limited in enumerate(
        (TracerProvider(sampler=ALWAYS_OFF), TracerProvider(span_limits=SpanLimits(max_attributes=1)))
    ):
        seen = InMemorySpanExporter()
        limited.add_span_processor(SimpleSpanProcessor(seen))
        with ls.run(f"limited {number}", home=live.home.root, tracer_provider=limited):
            think("a")
        assert [len(told(span)) for span in mirrored(seen).values()] == ([1, 1] if number else [])
        limited.shutdown()
        assert ends(live, f"limited {number}")["think"].text(names.OUTPUT) == '"A"'
        with live.run(f"limited {number}") as run:
            assert (think("a"), run.reused) == ("A", 1)


def test_a_node_past_the_bound_of_what_is_open_is_mirrored_whole_when_it_ends(
    live: LiveHome, provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "_MOST_OPEN", 1)
    live.serve()
    with ls.run("bound", home=live.home.root, tracer_provider=provider):
        think("a")
    spans = mirrored(exporter)
    run, inner = spans["run"], spans["think"]
    assert inner.parent is not None
    assert run.context is not None
    assert inner.parent.span_id == run.context.span_id
    assert told(inner)[names.OUTPUT] == '"A"'


class Slow(SpanExporter):
    """An exporter that hangs until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let_go.wait(20)
        return SpanExportResult.SUCCESS


def test_a_provider_that_hangs_holds_nobody_up_and_what_does_not_fit_is_dropped(
    live: LiveHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
    monkeypatch.setattr(mirrors, "_MOST_WAITING", 8)
    monkeypatch.setattr(mirrors, "_queue", [mirrors._Queue()])  # pyright: ignore[reportPrivateUsage]  # a small one
    live.serve()
    hanging, slow = TracerProvider(), Slow()
    hanging.add_span_processor(SimpleSpanProcessor(slow))
    begun = time.monotonic()
    with ls.run("hanging", home=live.home.root, tracer_provider=hanging) as run:
        for number in range(50):
            think(str(number))
        assert run.executed == 50
    assert time.monotonic() - begun < 10, "the exporter alone would have taken twenty seconds for the first span"
    slow.let_go.set()
    assert mirrors._queue[0].dropped > 0  # pyright: ignore[reportPrivateUsage]  # as above
    assert "slower than the run" in capsys.readouterr().err
    assert len([record for record in live.records("hanging") if record.kind == "ended"]) == 51
    assert mirrors._queue[0].flush(10)  # pyright: ignore[reportPrivateUsage]  # before the provider goes
    hanging.shutdown()


class Broken(SpanProcessor):
    def on_start(self, span: object, parent_context: object = None) -> None:
        raise RuntimeError("broken")


def test_a_provider_that_raises_costs_the_mirror_alone(live: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    said_once._said.clear()  # pyright: ignore[reportPrivateUsage]  # as in a process of its own
    live.serve()
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    with ls.run("broken", home=live.home.root, tracer_provider=provider):
        assert think("a") == "A"
    mirrored(InMemorySpanExporter())
    assert "a span of the mirror was lost: broken" in capsys.readouterr().err
    provider.shutdown()


def test_a_mirror_into_a_provider_that_livespan_records_is_not_recorded_twice(
    live: LiveHome, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    live.serve()
    processor = LivespanSpanProcessor(agent_settings({"LIVESPAN_HOME": str(live.home.root)}))
    taken: list[str] = []
    on_end = processor._connected  # pyright: ignore[reportPrivateUsage]  # asked for each span that is taken

    def connected() -> object:
        taken.append("a span")
        return on_end()

    processor._connected = connected  # type: ignore[method-assign,assignment]  # as above
    provider.add_span_processor(processor)
    with ls.run("twice", home=live.home.root, tracer_provider=provider):
        think("a")
    assert sorted(mirrored(exporter)) == ["run", "think"]
    assert taken == []
    provider.get_tracer("theirs").start_span("theirs").end()
    assert taken == ["a span"]
