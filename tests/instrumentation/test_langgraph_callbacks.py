"""Answers from the record are told to callbacks as live ones are: streams of messages, and handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from tests.instrumentation.fake_session import Tape
from tests.instrumentation.langgraph_agents import ORDER, RAN, model_of, order_agent

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.replay.testing import ModelServer, order_script, plain_script

both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["langgraph"])
    yield
    uninstrument()


def told_of(parts: list[Any]) -> list[Any]:
    """Return who said what in a stream of messages: texts joined, one entry a message; those of a step in any order."""
    found: list[Any] = []
    for message, about in parts:
        kind = "answer" if isinstance(message, AIMessageChunk) else type(message).__name__
        if kind == "answer" and found and found[-1][0] == "answer" and found[-1][1] == about["langgraph_step"]:
            found[-1] = (kind, found[-1][1], found[-1][2] + str(message.text))
        else:
            found.append((kind, about["langgraph_step"], str(message.text)))
    return sorted(found, key=lambda each: (each[1], each[2]))


@both
def test_a_stream_of_messages_is_the_same_in_each_life(use_async: bool) -> None:
    with ModelServer(order_script, random_ids=True) as server:

        async def read() -> list[Any]:
            agent: Any = order_agent(server)
            return [part async for part in agent.astream(ORDER, stream_mode="messages")]

        def messages() -> list[Any]:
            if use_async:
                return asyncio.run(read())
            return list(order_agent(server).stream(ORDER, stream_mode="messages"))

        tape = Tape()
        with tape.life():
            first = messages()
        with tape.life() as session:
            again = messages()
            assert session.executed == 0
    assert told_of(again) == told_of(first)
    assert [type(message) for message, _ in again if isinstance(message, ToolMessage)] == [ToolMessage] * 3
    chunks = [message for message, _ in again if isinstance(message, AIMessageChunk) and message.tool_call_chunks]
    assert [call["name"] for chunk in chunks for call in chunk.tool_calls] == [
        "look_up_order",
        "check_stock",
        "charge_card",
    ]


class Handler(BaseCallbackHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.told.append("model start")

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        if self.told[-1] != "token":
            self.told.append("token")

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.told.append("model end")

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self.told.append(f"{serialized['name']} {input_str}")

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.told.append(f"end {output}")

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.told.append(f"error {error!r}")


@both
def test_a_streamed_answer_tells_the_models_handlers(use_async: bool) -> None:
    with ModelServer(plain_script) as server:

        def life() -> list[str]:
            handler = Handler()
            model = model_of(server)
            config: Any = {"callbacks": [handler]}

            async def read() -> None:
                async for _ in model.astream("how?", config):
                    pass

            if use_async:
                asyncio.run(read())
            else:
                list(model.stream("how?", config))
            return handler.told

        tape = Tape()
        with tape.life():
            first = life()
        with tape.life() as session:
            assert life() == first == ["model start", "token", "model end"]
            assert session.executed == 0


def receipts() -> list[BaseTool]:
    """Return tools that end in each way that a tool may."""

    @tool
    def pay(cents: int) -> str:
        """Pay."""
        RAN["pay"] += 1
        return f"paid {cents}"

    @tool(response_format="content_and_artifact")
    def draw(cents: int) -> tuple[str, dict[str, int]]:
        """Draw a receipt."""
        RAN["draw"] += 1
        return "drawn", {"cents": cents}

    @tool
    def refuse(cents: int) -> str:
        """Refuse."""
        RAN["refuse"] += 1
        raise ToolException(f"not {cents}")

    @tool
    def fail(cents: int) -> str:
        """Fail."""
        RAN["fail"] += 1
        raise LookupError(f"no {cents}")

    refuse.handle_tool_error = True
    return [pay, draw, refuse, fail]


@both
@pytest.mark.parametrize("asked_by_a_model", [True, False], ids=["call", "plain"])
def test_a_tools_handlers_are_told_of_each_way_it_ended(use_async: bool, asked_by_a_model: bool) -> None:
    def life() -> tuple[list[str], list[object]]:
        handler = Handler()
        config: Any = {"callbacks": [handler]}
        results: list[object] = []
        for each in receipts():
            given: Any = {"cents": 4200}
            if asked_by_a_model:
                given = {"name": each.name, "args": given, "id": f"call-{each.name}", "type": "tool_call"}
            try:
                results.append(asyncio.run(each.ainvoke(given, config)) if use_async else each.invoke(given, config))
            except LookupError as error:
                results.append(repr(error))
        return handler.told, results

    tape = Tape()
    with tape.life():
        first = life()
    with tape.life() as session:
        again = life()
        assert session.executed == 0
    assert again == first
    assert len(first[0]) == 8
    assert set(RAN.values()) == {1}
