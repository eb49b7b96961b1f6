"""Single spans: spellings of former years, errors, states, what is not taken from a foreign span, and hostile ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.foreign_spans import foreign_span

from livespan.proto import attributes as names
from livespan.proto.foreign import ForeignNode, foreign_node
from livespan.proto.node import NodeType, TokenUsage

FORMER: dict[str, object] = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be brief.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Hello?",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.finish_reason": "tool_calls",
    "gen_ai.completion.0.tool_calls.0.id": "call_1",
    "gen_ai.completion.0.tool_calls.0.name": "look",
    "gen_ai.completion.0.tool_calls.0.arguments": '{"n": 1.50}',
    "gen_ai.usage.prompt_tokens": 7,
    "gen_ai.usage.completion_tokens": 5,
    "gen_ai.usage.cache_read_input_tokens": 3,
    "gen_ai.usage.reasoning_tokens": 2,
    "llm.usage.total_tokens": 12,
}


def read(attributes: dict[str, Any], **more: Any) -> ForeignNode:
    return foreign_node(foreign_span(attributes, **more))


def test_former_spellings_say_the_same() -> None:
    node = read(FORMER)
    assert (node.type, node.name, node.model, node.provider) == (NodeType.PROMPT, "gpt", "gpt", "OpenAI")
    assert node.tokens == TokenUsage(7, 5, cache_read=3, reasoning=2)
    assert json.loads(node.input) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hello?"}]},
    ]
    assert node.issued == ("call_1",)
    assert '"arguments":{"n": 1.50}' in node.output, "arguments stay digit for digit"
    assert node.rest["llm.usage.total_tokens"] == 12


@pytest.mark.parametrize(
    ("attributes", "type_"),
    [
        ({"gen_ai.operation.name": "generate_content"}, "PROMPT"),
        ({"gen_ai.operation.name": "embeddings"}, "PROMPT"),
        ({"gen_ai.operation.name": "execute_tool"}, "TOOL"),
        ({"gen_ai.operation.name": "search_memory"}, "MEMORY"),
        ({"gen_ai.operation.name": "create_memory_store"}, "MEMORY"),
        ({"gen_ai.operation.name": "retrieval"}, "MEMORY"),
        ({"gen_ai.operation.name": "plan"}, "BRANCH"),
        ({"gen_ai.request.model": "gpt", "gen_ai.usage.prompt_tokens": 1}, "PROMPT"),
        ({"gen_ai.request.model": "gpt"}, "BRANCH"),
        ({"openinference.span.kind": "EMBEDDING"}, "PROMPT"),
        ({"openinference.span.kind": "GUARDRAIL"}, "TOOL"),
        ({"openinference.span.kind": "RETRIEVER"}, "MEMORY"),
        ({"openinference.span.kind": "AGENT"}, "BRANCH"),
        ({"openinference.span.kind": "SOMETHING NEW"}, "BRANCH"),
        ({"openinference.span.kind": "CHAIN", "gen_ai.operation.name": "chat"}, "BRANCH"),
        ({"traceloop.span.kind": "tool"}, "TOOL"),
        ({"traceloop.span.kind": "task", "gen_ai.operation.name": "chat"}, "BRANCH"),
        ({"llm.request.type": "rerank"}, "PROMPT"),
        ({"db.system": "chroma"}, "MEMORY"),
        ({"db.system": "postgresql"}, "BRANCH"),
        ({"livespan.node.type": "TOOL", "gen_ai.operation.name": "chat"}, "TOOL"),
        ({"livespan.node.type": "NOTHING WE KNOW", "gen_ai.operation.name": "chat"}, "PROMPT"),
        ({"http.request.method": "GET"}, "BRANCH"),
        ({}, "BRANCH"),
    ],
)
def test_each_convention_says_what_a_span_is(attributes: dict[str, Any], type_: str) -> None:
    assert read(attributes).type == type_


def test_structured_messages_and_instructions_are_one_conversation() -> None:
    node = read(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Hello?"}]}],
        }
    )
    assert [message["role"] for message in json.loads(node.input)] == ["system", "user"]


@pytest.mark.parametrize(
    ("result", "output"), [("42", '"42"'), ("true", '"true"'), ('{"n": 1.0}', '{"n": 1.0}'), ([1, "a"], '[1,"a"]')]
)
def test_a_result_is_a_text_unless_it_is_an_object_or_a_list(result: object, output: str) -> None:
    assert read({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": result}).output == output


def test_an_openinference_tool_says_its_arguments_as_json_where_it_declares_them() -> None:
    kind: dict[str, Any] = {"openinference.span.kind": "TOOL", "tool.name": "look", "input.value": "7"}
    assert read(kind).input == '"7"'
    assert read({**kind, "input.mime_type": "application/json"}).input == "7"
    assert read({**kind, "tool.id": "call_9"}).tool_call_id == "call_9"


def test_a_tools_arguments_are_taken_out_of_what_is_wrapped_around_them() -> None:
    def given(wrapped: str) -> str:
        return read({"traceloop.span.kind": "tool", "traceloop.entity.input": wrapped}).input

    assert given('{"input_str": "{\'n\': 1.5}", "inputs": {"n": 1.50}, "tags": []}') == '{"n": 1.50}'
    assert given('{"input_str": "{\'n\': 1.5}"}') == "\"{'n': 1.5}\"", "Python's repr is a text"
    assert given('{"args": [], "kwargs": {"city": "Paris"}}') == '{"city": "Paris"}'
    for plain in ('{"args": ["Paris"], "kwargs": {}}', '{"inputs": {"a": 1}}', '{"input_str": 7}', "[1]", '"text"'):
        assert json.loads(given(plain)) == (json.loads(plain) if plain[0] in "{[" else plain)


def test_an_exception_is_the_error_and_one_that_was_caught_is_none() -> None:
    exception = {"exception.type": "x.Late", "exception.message": "too late", "exception.stacktrace": "Traceback"}
    failed = read({"error.type": "timeout"}, error="Late: too late", exception=exception).error
    assert failed is not None
    assert (failed.type, failed.message, failed.traceback) == ("x.Late", "too late", "Traceback")
    told = read({"error.type": "timeout"}, error="took too long").error
    assert told is not None
    assert (told.type, told.message) == ("timeout", "took too long")
    assert read({}, exception=exception).error is None


@pytest.mark.parametrize(
    ("sent", "encoding", "state"),
    [
        (b"\xff\x00", "", b"\xff\x00"),
        ("späte", "", "späte".encode()),
        (base64.b64encode(b"\xff\x00").decode(), "base64", b"\xff\x00"),
        ("cGxhaW4=", "", b"cGxhaW4="),
        ("no base64!", "base64", b"no base64!"),
        ([255, 0], "", b"\xff\x00"),
        ([256, "a"], "", b'[256,"a"]'),
        (b"", "", b""),
    ],
)
def test_a_state_comes_as_bytes_text_or_base64(sent: object, encoding: str, state: bytes) -> None:
    node = read({names.STATE: sent, **({names.STATE_ENCODING: encoding} if encoding else {})})
    assert node.state == state
    assert node.attributes()[names.STATE] == state


@pytest.mark.parametrize(
    "name", ["gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id"]
)
def test_the_session_has_a_name_in_each_convention(name: str) -> None:
    assert read({name: "chat-9", "openinference.span.kind": "LLM"}).session == "chat-9"


def test_a_foreign_span_claims_no_effect_and_no_place_in_the_journal() -> None:
    claimed = {
        names.NODE_TYPE: "TOOL",
        names.EFFECT: True,
        names.CALL_KEY: "k",
        names.IDEMPOTENCY_KEY: "ls-1",
        names.SETTLED: "done",
        names.LEASE_EVENT: "granted",
        names.METADATA: '{"a": 1}',
    }
    assert set(read(claimed).attributes()) == {names.NODE_TYPE, names.TOOL_NAME, names.METADATA}


def test_the_sum_that_a_wrapper_bears_is_not_counted_again() -> None:
    node = read({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 700})
    assert node.tokens.input is None
    assert names.INPUT_TOKENS not in node.attributes()


def test_what_was_said_is_found_in_events_too() -> None:
    span = foreign_span({"gen_ai.operation.name": "chat"})
    event = span.events.add(name="gen_ai.client.inference.operation.details")
    event.attributes.add(key="gen_ai.input.messages").value.string_value = '[{"role": "user", "parts": []}]'
    assert foreign_node(span).input == '[{"role": "user", "parts": []}]'


NAMES = [
    *FORMER,
    *["gen_ai.operation.name", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"],
    *[
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.prompt.x",
        "gen_ai.completion.9999999999.content",
    ],
    *["openinference.span.kind", "input.value", "input.mime_type", "output.value", "llm.token_count.prompt"],
    *["llm.input_messages.0.message.content", "llm.input_messages.0.message.contents.1.message_content.text"],
    *["llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments", "llm.invocation_parameters"],
    *["traceloop.span.kind", "traceloop.entity.input", "traceloop.entity.output", "db.system", "error.type"],
    *[names.NODE_TYPE, names.STATE, names.STATE_ENCODING, "session.id", "retrieval.documents.0.document.content"],
]
DEEP = "[" * 2000 + "]" * 2000
TEXTS = [
    *["", "chat", "execute_tool", "LLM", "TOOL", "RETRIEVER", "tool", "task", "chroma", "PROMPT", "base64", "\x00"],
    *["application/json", DEEP, '{"a":' * 300 + "1" + "}" * 300, '"\\ud800"', '{"a": ' + "1" * 5000 + "}"],
    '{"output":{"kwargs":{"tool_call_id":"x","content":' + DEEP + "}}}",
    '[{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"n","arguments":"{\\"a\\":1e5}"}]}]',
    *['{"input_str":"x","inputs":' + DEEP + "}", '{"input_str":"x","inputs":{"a":1}}', '{"args":[],"kwargs":7}'],
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary() | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "parts"]), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12), st.booleans())
def test_whatever_a_span_says_it_is_read(attributes: dict[str, Any], failed: bool) -> None:
    node = read(attributes, error="x" if failed else "", exception={"exception.message": attributes.get("a")})
    for text in (node.input, node.output):
        assert not text or text[0] in '{["-0123456789tfn'
    for value in node.attributes().values():
        assert isinstance(value, str | int | float | bool | bytes)
        if isinstance(value, str):
            value.encode()
