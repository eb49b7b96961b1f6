"""Foreign spans from log to lake: rows, runs, checkpoints and content, the same while they are hot and published."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.collector.stand import Stand, Writer, node
from tests.collector.statements import rows_of
from tests.proto.foreign_spans import any_value, foreign_span

from livespan.collector.lake.read_back import records_of
from livespan.collector.log import Entry
from livespan.collector.query.engine import QueryEngine
from livespan.collector.query.runs import list_runs, show_run
from livespan.collector.query.shapes import RunSummary, ShownRun
from livespan.proto import attributes as names
from livespan.proto.otlp import Request
from livespan.proto.record import Large, RecordKind

RUN = (b"t" * 16).hex()
STATE = bytes(range(256))
CALL = {"type": "tool_call", "id": "call_1", "name": "look", "arguments": {"city": "Paris"}}
LONG = "lots of text " * 3000

Sent = Callable[..., None]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.crash()


@pytest.fixture(params=["hot", "published"])
def send(stand: Stand, request: pytest.FixtureRequest) -> Sent:
    """Acknowledges and indexes foreign spans, and publishes them where that is asked for."""

    def sent(*spans: Span, resource: dict[str, str] | None = None) -> None:
        send_to(stand, *spans, resource=resource)
        if request.param == "published":
            stand.publish(last=True)

    return sent


def send_to(stand: Stand, *spans: Span, resource: dict[str, str] | None = None) -> None:
    payload = request_of(*spans, resource=resource)
    [appended] = stand.log.append([Entry(payload, len(spans))])
    stand.hot.add(Request(payload).records(appended.first_seq), appended.ref, len(payload))


def request_of(*spans: Span, resource: dict[str, str] | None = None) -> bytes:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, value in (resource or {"service.name": "theirs"}).items():
        group.resource.attributes.add(key=key).value.CopyFrom(any_value(value))
    scope = group.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai"
    scope.spans.extend(spans)
    return message.SerializeToString()


def prompt(number: int, parent: int = 0, **attributes: object) -> Span:
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt", "gen_ai.usage.input_tokens": 5}
    return foreign_span({**told, **attributes}, node=number, parent=parent)


def agent() -> list[Span]:
    """An agent as a convention tells it that leaves half of the tool to the model's answer; in the order of ends."""
    asked = json.dumps([{"role": "assistant", "parts": [CALL]}])
    kind = "openinference.span.kind"
    return [
        prompt(3, 2, **{"gen_ai.output.messages": asked, "tags": ["a", "b"]}),
        foreign_span({"http.request.method": "POST"}, node=4, parent=3),
        foreign_span({kind: "CHAIN"}, node=2, parent=1),
        foreign_span({kind: "TOOL", "tool.name": "look", "input.value": "Paris"}, node=5, parent=99),
        prompt(6, 1),
        foreign_span({kind: "AGENT", "session.id": "chat-9"}, name="agent", node=1),
    ]


def shown(stand: Stand, project: str = "theirs", run_id: str = RUN) -> ShownRun:
    return show_run(QueryEngine(stand.publisher), lambda _: False, project, run_id)


def listed(stand: Stand) -> list[RunSummary]:
    return list_runs(QueryEngine(stand.publisher), lambda _: False).runs


def sql(stand: Stand, statement: str) -> list[list[Any]]:
    return rows_of(QueryEngine(stand.publisher), statement)


def test_a_run_shows_its_steps(stand: Stand, send: Sent) -> None:
    send(*agent())
    found = shown(stand)
    assert [(one.node_id[-1], one.parent_id[-1:], one.type, one.name) for one in found.nodes] == [
        ("1", "", "BRANCH", "agent"),
        ("3", "1", "PROMPT", "gpt"),
        ("5", "1", "TOOL", "look"),
        ("6", "1", "PROMPT", "gpt"),
    ]
    tool = found.nodes[2]
    assert (tool.tool_call_id, json.loads(bytes(tool.input)), tool.effect) == ("call_1", {"city": "Paris"}, False)
    assert json.loads(bytes(found.nodes[1].metadata))["tags"] == '["a","b"]'
    assert found.nodes[1].framework == "openai"


def test_lists_and_tables_count_steps_and_not_wrappers(stand: Stand, send: Sent) -> None:
    send(*agent())
    [run] = listed(stand)
    assert (run.nodes, run.effects, run.input_tokens, run.session, run.status) == (3, 0, 10, "chat-9", "done")
    assert sql(stand, "SELECT count(*), count(*) FILTER (type = 'BRANCH') FROM nodes") == [[6, 3]]
    assert sql(stand, "SELECT count(*), sum(input_tokens) FROM llm_calls") == [[2, 10]]
    assert sql(stand, "SELECT count(*) FROM effects") == [[0]]
    assert sql(stand, "SELECT type, input, issued FROM nodes WHERE tool_name = 'look' OR issued IS NOT NULL") == [
        ["PROMPT", None, '["call_1"]'],
        ["TOOL", '"Paris"', None],
    ]


def test_spans_that_are_sent_again_are_the_same_run(stand: Stand, send: Sent) -> None:
    send(*agent())
    before = shown(stand)
    send(*agent())
    assert [one.node_id for one in shown(stand).nodes] == [one.node_id for one in before.nodes]
    assert listed(stand)[0].input_tokens == 10


@pytest.mark.parametrize("form", ["bytes", "text", "base64"])
def test_a_state_is_a_checkpoint_of_its_node(stand: Stand, form: str) -> None:
    forms: dict[str, dict[str, object]] = {
        "bytes": {names.STATE: STATE},
        "text": {names.STATE: STATE.decode("latin-1")},
        "base64": {names.STATE: base64.b64encode(STATE).decode(), names.STATE_ENCODING: "base64"},
    }
    state = STATE.decode("latin-1").encode() if form == "text" else STATE
    send_to(stand, foreign_span(forms[form], node=7), prompt(8, 7))
    history = stand.history.run("theirs", RUN)
    assert history is not None
    assert stand.history.content(history.foreign[0], "state") == state
    stand.publish(last=True)
    query = "SELECT node_id, size_bytes, digest = sha256(state) FROM checkpoints"
    assert sql(stand, query) == [["0000000000000007", len(state), True]]
    assert stand.rows(query) == [("0000000000000007", len(state), True)]
    published = stand.history.run("theirs", RUN)
    assert published is not None
    assert stand.history.content(published.foreign[0], "state") == state
    assert [(one.type, bool(one.state_digest)) for one in shown(stand).nodes] == [("BRANCH", True), ("PROMPT", False)]


def test_what_is_large_is_content_by_digest_whatever_it_was_made_of(stand: Stand) -> None:
    flattened: dict[str, object] = {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.content": LONG,
        "own.note": LONG,
    }
    send_to(stand, foreign_span(flattened))

    history = stand.history.run("theirs", RUN)
    assert history is not None
    [hot] = history.foreign
    output = stand.history.content(hot, "output")
    assert json.loads(output) == [{"role": "assistant", "parts": [{"type": "text", "content": LONG}]}]
    assert stand.history.content(hot, "own.note") == LONG.encode()
    stand.publish(last=True)
    [row] = stand.reader.run_rows(stand.hot.files().nodes, "theirs", RUN, None)
    [published] = records_of(row)
    assert stand.history.content(published, "output") == output
    assert stand.history.content(published, "own.note") == LONG.encode()
    assert (published.name, published.text(names.SPAN_NAME)) == (hot.name, hot.text(names.SPAN_NAME))
    kinds = "SELECT kind, size_bytes FROM content ORDER BY kind"
    assert [kind for kind, _ in stand.rows(kinds)] == ["attribute", "output", "span"]


def test_a_record_and_its_large_values_are_read_from_the_same_span() -> None:
    """A journal's record without a run is foreign to whoever reads it: to `records` and to `larges`."""
    span = foreign_span({names.RECORD: "ended", names.NODE_TYPE: "TOOL", names.OUTPUT: LONG})
    request = Request(request_of(span))
    [record] = request.records(1)
    assert record.kind is RecordKind.FOREIGN
    found = {name: data for _, name, data in request.larges()}
    assert set(found) == {names.TOOL_RESULT, "raw"}
    assert all(request.large(0, name) == data for name, data in found.items())
    assert record.attributes[names.TOOL_RESULT] == Large(0, len(found[names.TOOL_RESULT]))


def test_in_a_run_of_ours_a_foreign_span_hangs_under_the_root_and_never_stands_for_a_node_of_ours(
    stand: Stand, send: Sent
) -> None:
    own = Writer("order-17")
    stand.send(own.root_record(RecordKind.STARTED), own.started(node(4)))
    send(prompt(3), prompt(4), resource={names.PROJECT: "shop", names.RUN_ID: "order-17"})
    found = {one.node_id: one for one in shown(stand, "shop", "order-17").nodes}
    assert found[node(4).hex()].type == "TOOL"
    assert found[node(4).hex()].effect
    assert found[node(3).hex()].parent_id == own.root.hex()
    assert [run.in_doubt for run in listed(stand)] == [1]
