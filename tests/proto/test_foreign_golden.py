"""What the real instrumentations of each convention write is read as the same steps. Needs none of them installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.frameworks.golden_foreign import CONVENTIONS, load

from livespan.proto.foreign import ForeignNode, Step, foreign_node, plant
from livespan.proto.node import NodeType

QUESTION = {"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris?"}]}
ARGUMENTS = {"city": "Paris", "days": 2}


def read(convention: str, program: str) -> list[tuple[Span, ForeignNode]]:
    """Return the spans of one program in the order of their starts, and what they are read as."""

    def told() -> Iterator[tuple[Span, ForeignNode]]:
        for group in load(convention).resource_spans:
            for scope in group.scope_spans:
                if any(pair.value.string_value == f"{convention}-{program}" for pair in group.resource.attributes):
                    yield from ((span, foreign_node(span, scope.scope.name)) for span in scope.spans)

    return sorted(told(), key=lambda one: one[0].start_time_unix_nano)


def calls(convention: str) -> list[ForeignNode]:
    return [node for _, node in read(convention, "agent") if node.type is not NodeType.BRANCH]


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what some conventions say and others do not."""
    return {"role": message["role"], "parts": message["parts"]}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_agents_calls_are_the_same(convention: str) -> None:
    first, tool, second = calls(convention)
    for prompt, tokens in ((first, (8, 30)), (second, (51, 9))):
        assert (prompt.type, prompt.name, prompt.model, prompt.provider) == (
            NodeType.PROMPT,
            "weather-model",
            "weather-model",
            "openai",
        )
        assert (prompt.tokens.input, prompt.tokens.output) == tokens
        assert prompt.framework == "langchain"
        assert prompt.error is None
    assert second.tokens.cache_read == 45
    assert (tool.type, tool.name, tool.tool_name) == (NodeType.TOOL, "get_weather", "get_weather")
    assert (json.loads(tool.input), json.loads(tool.output)) == (ARGUMENTS, "57F in Paris for 2 days")
    assert first.issued == (tool.tool_call_id,) != ("",)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_was_said_has_one_form(convention: str) -> None:
    first, tool, second = calls(convention)
    call = {"type": "tool_call", "id": tool.tool_call_id, "name": "get_weather", "arguments": ARGUMENTS}
    answer = {"type": "tool_call_response", "id": tool.tool_call_id, "response": "57F in Paris for 2 days"}
    said = {"role": "assistant", "parts": [{"type": "text", "content": "They say: 57F in Paris for 2 days"}]}
    assert [plain(message) for message in json.loads(first.input)] == [QUESTION]
    [asked] = json.loads(first.output)
    assert plain(asked) == {"role": "assistant", "parts": [call]}
    assert [plain(message) for message in json.loads(second.input)] == [
        QUESTION,
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [answer]},
    ]
    assert [plain(message) for message in json.loads(second.output)] == [said]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_agents_tree_is_the_same(convention: str) -> None:
    spans = [(span, node) for span, node in read(convention, "agent") if span.name != "create_agent agent"]
    steps = [
        Step(span.span_id.hex(), span.parent_span_id.hex(), node.type, span.start_time_unix_nano)
        for span, node in spans
    ]
    types = {step.node_id: step.type for step in steps}
    root, *under = planted = plant(steps)
    assert [types[node] for node in planted] == ["BRANCH", "PROMPT", "TOOL", "PROMPT"]
    assert {planted[node].parent_id for node in under} == {root}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_clients_calls_are_a_success_and_a_failure(convention: str) -> None:
    (_, answered), (_, refused) = read(convention, "client")
    assert (answered.type, answered.error) == (NodeType.PROMPT, None)
    assert (answered.tokens.input, answered.tokens.output) == (8, 10)
    assert [plain(message) for message in json.loads(answered.input)] == [QUESTION]
    assert refused.error is not None
    assert refused.error.type == "openai.BadRequestError"
    assert refused.error.message.startswith("Error code: 400 - Invalid parameter")
    assert (refused.error.traceback != "") == (convention != "genai"), "GenAI's writes no exception event"


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_has_no_field_is_kept_by_its_own_name(convention: str) -> None:
    [first, *_] = calls(convention)
    kept = {
        "genai": "gen_ai.response.id",
        "openinference": "llm.token_count.total",
        "openllmetry": "gen_ai.response.id",
    }
    assert kept[convention] in first.rest
    assert "livespan.span.name" in first.rest
    assert not any("message" in name for name in first.rest), "what was said is said once"
