from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE
from livespan.proto.node import NodeType
from livespan.proto.record import Record, RecordKind


@ls.step
def think(question: str) -> str:
    return question.upper()


def roots(live: LiveHome, run_id: str) -> dict[RecordKind, Record]:
    """Return what a run's root has left, by kind: its first record and its newest."""
    return {
        record.kind: record
        for record in live.records(run_id)
        if record.text(names.NODE_TYPE) == NodeType.BRANCH and record.text(names.SCOPE) == ROOT_SCOPE
    }


def link_to(span: Span) -> tuple[str, ...]:
    context = span.get_span_context()
    assert context is not None
    return (f"{format_trace_id(context.trace_id)}/{format_span_id(context.span_id)}",)


def opened_in(live: LiveHome, run_id: str, name: str, *, fails: bool = False) -> tuple[str, ...]:
    """Play a life within a span of that name; return the link to it that is to be found."""
    provider = TracerProvider()
    with provider.get_tracer("caller").start_as_current_span(name) as span, suppress(KeyError), live.run(run_id):
        think("a")
        if fails:
            raise KeyError
    provider.shutdown()
    assert isinstance(span, Span)
    return link_to(span)


def test_a_run_links_to_the_span_that_it_was_opened_in_and_keeps_its_own_trace(shared: LiveHome) -> None:
    link = opened_in(shared, "linked", "request")
    root = roots(shared, "linked")[RecordKind.STARTED]
    assert root.links == link
    assert (root.text(names.CALLER_TRACE_ID), root.text(names.CALLER_SPAN_ID)) == tuple(link[0].split("/"))
    assert root.trace_id.hex() not in link[0]
    assert root.parent_id == b""
    below = [record for record in shared.records("linked") if record.text(names.CALL_KEY)]
    assert len(below) == 2
    assert all(record.links == () and not record.text(names.CALLER_SPAN_ID) for record in below)


def test_without_a_span_there_is_no_link(shared: LiveHome) -> None:
    with shared.run("alone"):
        think("a")
    for root in roots(shared, "alone").values():
        assert root.links == ()
        assert names.CALLER_TRACE_ID not in root.attributes


def test_a_run_opened_by_async_with_links_too(shared: LiveHome) -> None:
    provider = TracerProvider()

    async def life() -> tuple[str, ...]:
        with provider.get_tracer("caller").start_as_current_span("request") as span:
            async with shared.run("async"):
                think("a")
        assert isinstance(span, Span)
        return link_to(span)

    link = asyncio.run(life())
    provider.shutdown()
    assert roots(shared, "async")[RecordKind.STARTED].links == link


def test_a_resumed_run_names_the_caller_of_its_first_life_and_of_its_last(shared: LiveHome) -> None:
    first = opened_in(shared, "resumed", "first", fails=True)
    second = opened_in(shared, "resumed", "second")
    root = roots(shared, "resumed")
    assert first != second
    assert (root[RecordKind.STARTED].links, root[RecordKind.ENDED].links) == (first, second)


def test_the_command_and_the_table_show_the_link(live: LiveHome) -> None:
    live.serve()
    link = opened_in(live, "table", "request")
    [root] = [node for node in printed(live, "runs", "show", "table", "-o", "json")["nodes"] if not node["parent_id"]]
    assert root["links"] == list(link)
    sql = "SELECT links, attributes FROM nodes WHERE root AND kind = 'ended'"
    wait_until(lambda: printed(live, "sql", sql, "-o", "json"))
    [row] = printed(live, "sql", sql, "-o", "json")
    assert json.loads(row["links"]) == list(link)
    assert json.loads(row["attributes"])[names.CALLER_SPAN_ID] == link[0].split("/")[1]


def printed(live: LiveHome, *words: str) -> Any:
    """Return what a command prints as JSON."""
    out, err = live.start("-m", "livespan.collector", *words).communicate(timeout=30)
    assert out, err
    return json.loads(out)
