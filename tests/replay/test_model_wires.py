"""The model server's other two wires, responses and messages, as their stock clients and plain HTTP see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import anthropic
import openai
import pytest

from livespan.replay.testing import Counts, ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER

TOOL: dict[str, Any] = {"type": "object", "properties": {"order_id": {"type": "string"}}}
CALL: dict[str, Any] = {"type": "function_call", "call_id": "c1", "name": "charge_card", "arguments": "{}"}
USE: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "charge_card", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
TEXT: dict[str, Any] = {"type": "text", "text": "hello"}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def responses(server: ModelServer) -> Iterator[Any]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client.responses


@pytest.fixture
def messages(server: ModelServer) -> Iterator[Any]:
    url = server.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client.messages


def post(port: int, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_response_has_text_and_token_counts(responses: Any, server: ModelServer) -> None:
    answer = responses.create(model="m", instructions="Be kind.", input="hello", user="a")
    assert answer.output_text.endswith("to: hello")
    assert answer.usage.input_tokens == 4
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert server.counts("a") == Counts(requests=1, answers=1)


def test_a_message_has_text_and_token_counts(messages: Any, server: ModelServer) -> None:
    asked = [{"role": "user", "content": [TEXT]}]
    answer = messages.create(model="m", max_tokens=9, system="Be kind.", messages=asked, metadata={"user_id": "a"})
    assert answer.content[0].text.endswith("to: hello")
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens > 0) == (4, True)
    assert server.counts("a") == Counts(requests=1, answers=1)


def test_tool_calls_go_there_and_back_in_responses(responses: Any) -> None:
    names = ("look_up_order", "check_stock", "charge_card")
    tools = [{"type": "function", "name": name, "parameters": TOOL} for name in names]
    asked: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": "pay order-17"}]}]
    first = responses.create(model="m", input=asked, tools=tools)
    assert [item.name for item in first.output] == ["look_up_order", "check_stock"]
    asked += first.output
    asked += [{"type": "function_call_output", "call_id": item.call_id, "output": "ok"} for item in first.output]
    second = responses.create(model="m", input=asked, tools=tools)
    assert json.loads(second.output[0].arguments) == {"cents": 4200}
    asked += [*second.output, {"type": "function_call_output", "call_id": second.output[0].call_id, "output": "rc-1"}]
    assert responses.create(model="m", input=asked, tools=tools).output_text == "order-17 is paid: rc-1"


def test_tool_calls_go_there_and_back_in_messages(messages: Any) -> None:
    tools = [{"name": name, "input_schema": TOOL} for name in ("look_up_order", "check_stock", "charge_card")]
    asked: list[Any] = [{"role": "user", "content": "pay order-17"}]
    for results in (["ok", "ok"], ["rc-1"]):
        answer = messages.create(model="m", max_tokens=9, messages=asked, tools=tools)
        assert answer.stop_reason == "tool_use"
        asked.append({"role": "assistant", "content": answer.content})
        told = [
            {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": text}]}
            for block, text in zip(answer.content, results, strict=True)
        ]
        asked.append({"role": "user", "content": told})
    answer = messages.create(model="m", max_tokens=9, messages=asked, tools=tools)
    assert answer.content[0].text == "order-17 is paid: rc-1"
    assert answer.usage.cache_read_input_tokens > 0


@pytest.mark.parametrize("with_tools", [False, True], ids=["text", "tool calls"])
def test_a_streamed_answer_is_the_whole_one(responses: Any, messages: Any, with_tools: bool) -> None:
    tools: dict[str, Any] = {"tools": [{"type": "function", "name": "pay", "parameters": TOOL}]} if with_tools else {}
    with responses.stream(model="m", input="pay order-17", **tools) as stream:
        numbers = [event.sequence_number for event in stream]
        streamed = stream.get_final_response()
    whole = responses.create(model="m", input="pay order-17", **tools)
    assert numbers == list(range(len(numbers)))
    if with_tools:
        assert [(one.name, one.arguments, one.call_id) for one in streamed.output] == [
            (one.name, one.arguments, one.call_id) for one in whole.output
        ]
    assert streamed.output_text[:7] == whole.output_text[:7]
    assert streamed.usage == whole.usage
    tools = {"tools": [{"name": "pay", "input_schema": TOOL}]} if with_tools else {}
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "pay order-17"}]}
    with messages.stream(**asked, **tools) as stream:
        message = stream.get_final_message()
    again = messages.create(**asked, **tools)
    assert (message.stop_reason, message.usage.output_tokens) == (again.stop_reason, again.usage.output_tokens)
    if with_tools:
        assert [(one.name, one.input, one.id) for one in message.content] == [
            (one.name, one.input, one.id) for one in again.content
        ]


BAD_INPUT: list[tuple[Any, str]] = [
    ([CALL], "did not have response messages: c1"),
    ([{"type": "function_call_output", "call_id": "c1", "output": "x"}], "must be a response to a preceding"),
    ([CALL, CALL], "Duplicate"),
    ([{**CALL, "arguments": "{"}], "not JSON"),
    ([{"role": "robot", "content": "x"}], "robot"),
]


@pytest.mark.parametrize(("asked", "words"), BAD_INPUT)
def test_responses_refuse_what_the_api_would(server: ModelServer, asked: object, words: str) -> None:
    status, answer = post(server.port, "/v1/responses", {"model": "m", "input": asked})
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert words in answer["error"]["message"]
    assert server.counts("default") == Counts(requests=1, refused=1)


def test_no_response_is_kept(server: ModelServer) -> None:
    asked = {"model": "m", "input": "hello", "previous_response_id": "resp_1"}
    assert post(server.port, "/v1/responses", asked)[0] == 400


BAD_MESSAGES: list[tuple[Any, str]] = [
    ([], "at least one message"),
    ([{"role": "system", "content": "x"}], "system"),
    ([{"role": "assistant", "content": [USE]}], "did not have response messages: t1"),
    ([{"role": "user", "content": [RESULT]}], "must be a response to a preceding"),
    ([{"role": "assistant", "content": [USE]}, {"role": "user", "content": [TEXT, RESULT]}], "come before"),
    ([{"role": "user", "content": [USE]}], "has no blocks"),
    ([{"role": "assistant", "content": [RESULT]}], "has no blocks"),
]


@pytest.mark.parametrize(("asked", "words"), BAD_MESSAGES)
def test_messages_refuse_what_the_api_would(server: ModelServer, asked: object, words: str) -> None:
    status, answer = post(server.port, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": asked})
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error")
    assert words in answer["error"]["message"]
    assert server.counts("default") == Counts(requests=1, refused=1)


def test_an_answer_has_a_limit_in_messages(server: ModelServer) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    status, answer = post(server.port, "/v1/messages", asked)
    assert status == 400
    assert "max_tokens" in answer["error"]["message"]


def test_every_wire_counts_for_its_label(server: ModelServer) -> None:
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages"):
        assert post(server.port, path, asked, {LABEL_HEADER: "a"})[0] == 200
        assert post(server.port, f"/as/b{path}", asked)[0] == 200
    assert (server.counts("a").answers, server.counts("b").answers) == (3, 3)
