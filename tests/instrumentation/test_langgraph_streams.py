"""Model calls that are streamed, in plain code and through a graph: recorded whole, and answered as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import openai
import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from tests.instrumentation.fake_session import Killed, Tape
from tests.instrumentation.langgraph_agents import (
    ORDER,
    RAN,
    asked_of,
    charge_card,
    check_stock,
    create_agent,
    look_up_order,
    model_of,
    order_agent,
    shape,
)

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import RecordedError
from livespan.proto.node import NodeType
from livespan.replay.testing import ModelServer, plain_script

both = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    RAN.clear()
    instrument(["langgraph"])
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(plain_script, random_ids=True) as server:
        yield server


def read(model: Any, question: Any, *, use_async: bool, on_chunk: Callable[[int], None] = lambda _: None) -> list[Any]:
    """Read a stream to its end; `on_chunk` is told how many chunks have come."""
    found: list[Any] = []

    async def read_async() -> None:
        async for chunk in model.astream(question):
            found.append(chunk)
            on_chunk(len(found))

    if use_async:
        asyncio.run(read_async())
    else:
        for chunk in model.stream(question):
            found.append(chunk)
            on_chunk(len(found))
    return found


def whole(chunks: list[Any]) -> Any:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


@both
def test_a_stream_is_recorded_whole_and_answered_as_a_stream(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        first = read(model_of(server), "hello", use_async=use_async)
    assert len(first) > 2
    with tape.life() as session:
        again = read(model_of(server), "hello", use_async=use_async)
        assert (session.executed, session.reused) == (0, 1)
    assert again == [whole(first)]
    assert type(again[0]) is AIMessageChunk
    assert asked_of(server) == 1


@both
def test_the_end_is_recorded_before_the_last_chunk_is_handed_on(server: ModelServer, use_async: bool) -> None:
    tape = Tape()
    ended: list[int] = []
    with tape.life():
        chunks = read(
            model_of(server),
            "hello",
            use_async=use_async,
            on_chunk=lambda _: ended.append(len(tape.calls(NodeType.PROMPT, "ended"))),
        )
    assert ended == [0] * (len(chunks) - 1) + [1]


@both
def test_an_abandoned_stream_is_asked_again(server: ModelServer, use_async: bool) -> None:
    async def look_async() -> str:
        stream = model_of(server).astream("hello")
        async for chunk in stream:
            await cast("Any", stream).aclose()
            return str(chunk.content)
        raise AssertionError

    def look() -> str:
        for chunk in model_of(server).stream("hello"):
            return str(chunk.content)
        raise AssertionError

    tape = Tape()
    for life in (1, 2):
        with tape.life() as session:
            assert (asyncio.run(look_async()) if use_async else look()) == ""  # the first chunk holds the role alone
            assert (session.executed, session.reused) == (1, 0)
        assert asked_of(server) == life


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the dead stream, cleared away, is killed again
@both
def test_a_reader_that_dies_in_the_middle_asks_again(server: ModelServer, use_async: bool) -> None:
    def die(count: int) -> None:
        if count == 2:
            tape.dead = True
            raise Killed

    tape = Tape()
    with pytest.raises(Killed), tape.life():
        read(model_of(server), "hello", use_async=use_async, on_chunk=die)
    with tape.life() as session:
        assert len(read(model_of(server), "hello", use_async=use_async)) > 2
        assert session.executed == 1
    assert asked_of(server) == 2


@both
def test_what_a_reader_calls_between_chunks_is_the_readers(server: ModelServer, use_async: bool) -> None:
    @tool
    def note(count: int) -> str:
        """Note it."""
        RAN["note"] += 1
        return "noted"

    tape = Tape()
    with tape.life():
        read(
            model_of(server),
            "hello",
            use_async=use_async,
            on_chunk=lambda count: note.invoke({"count": count}) if count == 1 else None,
        )
    assert tape.scopes(NodeType.TOOL) == tape.scopes(NodeType.PROMPT)


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    RAN["look_up"] += 1
    return f"{word} is found"


class Looking(BaseChatModel):
    """A model that calls a tool of its own while it streams."""

    @property
    def _llm_type(self) -> str:
        return "looking"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in str(messages[-1].content).split():
            yield ChatGenerationChunk(message=AIMessageChunk(content=look_up.invoke({"word": word})))


@both
def test_what_the_model_itself_calls_is_inside_its_call(use_async: bool) -> None:
    tape = Tape()
    with tape.life():
        read(Looking(), "a b", use_async=use_async)
    prompt = tape.calls(NodeType.PROMPT)[0]
    assert {line.scope.split("/")[1] for line in tape.calls(NodeType.TOOL)} == {prompt.attributes[names.CALL_KEY]}
    with tape.life() as session:
        assert [chunk.content for chunk in read(Looking(), "a b", use_async=use_async)] == ["a is foundb is found"]
        assert (session.executed, session.reused) == (0, 1)
    assert RAN["look_up"] == 2


@both
def test_an_error_of_the_model_is_recorded_as_its_outcome(server: ModelServer, use_async: bool) -> None:
    unpaired = [HumanMessage("hello"), ToolMessage("x", tool_call_id="nobody's")]
    tape = Tape()
    errors: list[BaseException] = []
    for _ in range(2):
        with tape.life():
            try:
                read(model_of(server), unpaired, use_async=use_async)
            except (openai.BadRequestError, RecordedError) as error:
                errors.append(error)
    assert asked_of(server) == 1
    assert isinstance(errors[0], openai.BadRequestError)
    assert str(errors[1]) == str(errors[0])


@both
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
def test_a_streamed_graph_is_answered_from_the_record(use_async: bool, streaming: bool, mode: str) -> None:
    with ModelServer(random_ids=True) as server:

        def program() -> list[Any]:
            agent = create_agent(model_of(server, streaming=streaming), [look_up_order, check_stock, charge_card])

            async def read_async() -> list[Any]:
                return [part async for part in agent.astream(ORDER, stream_mode=mode)]

            return asyncio.run(read_async()) if use_async else list(agent.stream(ORDER, stream_mode=mode))

        tape = Tape()
        with tape.life():
            first = program()
        asked, ran = asked_of(server), RAN.copy()
        with tape.life() as session:
            again = program()
            assert session.executed == 0
        assert (asked_of(server), RAN) == (asked, ran)
    if mode == "messages":
        assert text_of(again) == text_of(first)
    elif mode == "values":
        assert shape(again[-1]["messages"]) == shape(first[-1]["messages"])
    else:
        assert [list(part) for part in again] == [list(part) for part in first]


def text_of(parts: list[Any]) -> tuple[str, list[str]]:
    """Return the model's words, and the tools', which stream in the order in which they end."""
    said = "".join(str(message.content) for message, _ in parts if not isinstance(message, ToolMessage))
    return said, sorted(str(message.content) for message, _ in parts if isinstance(message, ToolMessage))


def test_a_stream_of_a_graph_that_is_left_early_goes_on_in_the_next_life() -> None:
    with ModelServer(random_ids=True) as server:
        tape = Tape()
        with tape.life():
            for _ in order_agent(server).stream(ORDER, stream_mode="updates"):
                break
        assert asked_of(server) == 1
        with tape.life() as session:
            parts = list(order_agent(server).stream(ORDER, stream_mode="updates"))
            assert session.reused == 1
        assert "order-17 is paid" in str(parts[-1])
        assert asked_of(server) == 3
