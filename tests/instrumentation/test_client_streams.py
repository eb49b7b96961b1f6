"""Streams of the plain clients: recorded before their last event is handed on, given up, broken, read by parts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.instrumentation.client_agents import anthropic_client, async_openai_client, openai_client
from tests.instrumentation.fake_session import Killed, Tape

from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.node import NodeType
from livespan.replay.testing import ModelServer

HELLO: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    instrument(["openai", "anthropic"])
    yield
    uninstrument()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(random_ids=True) as server:
        yield server


def asked_of(server: ModelServer) -> int:
    return server.counts("agent").requests


def test_whoever_has_the_last_part_has_an_answer_that_is_recorded(server: ModelServer) -> None:
    tape = Tape()
    with tape.life(), openai_client(server) as client:
        seen = 0
        for part in client.chat.completions.create(**HELLO, stream=True):
            seen += 1
            if part.choices[0].finish_reason:
                assert len(tape.calls(NodeType.PROMPT, "ended")) == 1
                break
            assert tape.calls(NodeType.PROMPT, "ended") == []
        assert seen > 3


def test_a_reader_that_stops_at_the_end_of_the_answer_has_it_from_the_record(server: ModelServer) -> None:
    tape = Tape()
    texts: list[str] = []
    for _ in range(2):
        with tape.life(), openai_client(server) as client:
            text = ""
            stream = client.chat.completions.create(**HELLO, stream=True, stream_options={"include_usage": True})
            for part in stream:
                text += part.choices[0].delta.content or ""
                if part.choices[0].finish_reason:
                    break  # the part with the usage is not read
            texts.append(text)
    assert texts[0] == texts[1]
    assert asked_of(server) == 1
    assert tape.calls(NodeType.PROMPT, "ended")[0].attributes[names.INPUT_TOKENS] == 2


@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_a_stream_that_is_given_up_is_asked_again(server: ModelServer, use_async: bool) -> None:
    tape = Tape()

    async def give_up() -> None:
        async with async_openai_client(server) as client:
            async with await client.chat.completions.create(**HELLO, stream=True) as stream:
                async for _ in stream:
                    break
            del stream

    for lives in (1, 2):
        with tape.life():
            if use_async:
                asyncio.run(give_up())
            else:
                with openai_client(server) as client:
                    with client.chat.completions.create(**HELLO, stream=True) as stream:
                        next(iter(stream))
                    del stream
            gc.collect()
        assert asked_of(server) == lives
        assert tape.calls(NodeType.PROMPT, "ended")[-1].attributes[names.CANCELLED]


def test_a_stream_that_is_dropped_writes_nothing_while_garbage_is_collected(server: ModelServer) -> None:
    tape = Tape()
    for lives in (1, 2):
        with openai_client(server) as client:
            with tape.life():
                stream = client.chat.completions.create(**HELLO, stream=True)
                next(stream)
            lines = len(tape.lines)
            del stream
            gc.collect()
        assert len(tape.lines) == lines
        assert asked_of(server) == lives
    assert len(tape.open_calls()) == 2


def test_a_stream_that_is_closed_is_told_to_be(server: ModelServer) -> None:
    tape = Tape()
    with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
        stream = client.chat.completions.create(**HELLO, stream=True)
        next(stream)
        stream.close()
        stream.close()
        assert stream.response.is_closed
        with other.messages.stream(**HELLO, max_tokens=9) as messages:
            next(messages)
        assert messages.response.is_closed
    assert [line.attributes[names.CANCELLED] for line in tape.calls(NodeType.PROMPT, "ended")] == [True, True]


def test_killed_while_it_streams_it_is_asked_again(server: ModelServer) -> None:
    tape = Tape()
    with pytest.raises(Killed), tape.life(killed_after=3), openai_client(server) as client:
        list(client.chat.completions.create(**HELLO, stream=True))
    assert [line.kind for line in tape.calls(NodeType.PROMPT)] == ["started"]
    # The third record was the answer's end, and it was written; without it the answer would be lost.
    tape.lines.pop()
    with tape.life(), openai_client(server) as client:
        list(client.chat.completions.create(**HELLO, stream=True))
    assert asked_of(server) == 2


def test_a_stream_from_the_record_is_the_clients_own(server: ModelServer) -> None:
    tape = Tape()
    for _ in range(2):
        with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
            with client.chat.completions.create(**HELLO, stream=True) as stream:
                assert stream.response.status_code == 200
                assert next(stream).choices[0].delta.role == "assistant"
                assert type(stream) is openai.Stream
            with other.messages.stream(**HELLO, max_tokens=9) as messages:
                text = "".join(messages.text_stream)
                assert messages.get_final_text() == text
                assert isinstance(messages.get_final_message(), anthropic.types.Message)
                assert messages.request_id is None
    assert server.counts("agent").requests == 3


def test_parts_of_a_thread_elsewhere_belong_to_who_asked(server: ModelServer) -> None:
    tape = Tape()
    for _ in range(2):
        with tape.life(), openai_client(server) as client:
            stream = client.chat.completions.create(**HELLO, stream=True)

            async def read(parts: Any) -> int:
                return await asyncio.to_thread(lambda: len(list(parts)))

            assert asyncio.run(read(stream)) > 3
    assert tape.scopes(NodeType.PROMPT) == ["/"]
    assert asked_of(server) == 1
