"""What of the plain clients is recorded and what passes: helpers, errors, raw responses, embeddings, nested calls."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import anthropic
import openai
import pydantic
import pytest
from anthropic.types.beta import BetaMessage
from langchain_core.messages import HumanMessage
from tests.instrumentation.client_agents import anthropic_client, async_openai_client, openai_client
from tests.instrumentation.fake_session import Tape
from tests.instrumentation.langgraph_agents import model_of

import livespan.instrumentation as ls
from livespan.instrumentation.frameworks import instrument, uninstrument
from livespan.proto import attributes as names
from livespan.proto.errors import Divergence, RunStopped
from livespan.proto.node import NodeType
from livespan.replay.testing import Conversation, ModelServer, Reply

HELLO: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


class Kettle(pydantic.BaseModel):
    """What is sold."""

    litres: float


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


def a_kettle(conversation: Conversation) -> Reply:
    del conversation
    return Reply('{"litres": 1.5}')


def test_parsed_answers_come_back_parsed() -> None:
    tape, found = Tape(), list[Any]()
    with ModelServer(a_kettle, random_ids=True) as server:
        for _ in range(2):
            with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
                chat = client.chat.completions.parse(**HELLO, response_format=Kettle)
                response = client.responses.parse(model="m", input="hello", text_format=Kettle)
                message = other.messages.parse(**HELLO, max_tokens=9, output_format=Kettle)
                with client.chat.completions.stream(**HELLO, response_format=Kettle) as stream:
                    streamed = stream.get_final_completion()
                found.append((chat, response, message, streamed))
                for kettle in (
                    chat.choices[0].message.parsed,
                    response.output_parsed,
                    message.parsed_output,
                    streamed.choices[0].message.parsed,
                ):
                    assert kettle == Kettle(litres=1.5)
        assert asked_of(server) == 4
    assert found[0] == found[1]
    assert repr(found[0]) == repr(found[1])


def test_another_format_is_another_question() -> None:
    class Pot(pydantic.BaseModel):
        lid: bool

    tape = Tape()
    with ModelServer(a_kettle) as server:
        with tape.life(), openai_client(server) as client:
            client.chat.completions.parse(**HELLO, response_format=Kettle)
        with pytest.raises(Divergence), tape.life(), openai_client(server) as client:
            client.chat.completions.parse(**HELLO, response_format=Pot)
        assert asked_of(server) == 1


def test_an_error_that_the_program_handles_comes_back_as_it_was(server: ModelServer) -> None:
    tape, told = Tape(), list[Any]()
    for _ in range(2):
        with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model="m", messages=[])
            error = refused.value
            told.append((str(error), error.status_code, error.body, error.code))
            with pytest.raises(anthropic.BadRequestError) as refused_too:
                other.messages.create(model="m", max_tokens=9, messages=[])
            told.append((str(refused_too.value), refused_too.value.status_code, refused_too.value.body))
            with pytest.raises(openai.BadRequestError):
                client.responses.create(model="m", input="hello", previous_response_id="resp_1", stream=True)
    assert told[:2] == told[2:]
    assert asked_of(server) == 3


class Busy(BaseHTTPRequestHandler):
    """Is never ready to answer."""

    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        Busy.asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503)
        self.send_header("retry-after-ms", "1")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        del format, args


def test_the_clients_own_retries_are_one_call() -> None:
    tape = Tape()
    with serving(Busy) as url, tape.life():
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=2)
        with client, pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**HELLO)
    assert Busy.asked == 3
    assert len(tape.calls(NodeType.PROMPT)) == 1


def test_raw_responses_and_other_addresses_pass(server: ModelServer) -> None:
    tape = Tape()
    with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
        assert client.chat.completions.with_raw_response.create(**HELLO).parse().choices
        with client.chat.completions.with_streaming_response.create(**HELLO) as response:
            assert response.parse().choices
        assert other.messages.with_raw_response.create(**HELLO, max_tokens=9).parse().content
        assert list(client.models.list())
    assert tape.calls(NodeType.PROMPT) == []
    assert asked_of(server) == 3


def test_messages_may_come_from_an_iterator(server: ModelServer) -> None:
    tape, texts = Tape(), list[object]()
    for _ in range(2):
        with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
            messages: Any = HELLO["messages"]
            texts.append(client.chat.completions.create(model="m", messages=iter(messages)).choices[0].message.content)
            texts.append(other.messages.create(model="m", messages=iter(messages), max_tokens=9).content[0])
    assert texts[:2] == texts[2:]
    assert str(texts[0]).endswith("to: hello")
    assert asked_of(server) == 2


def test_beta_messages_are_messages(server: ModelServer) -> None:
    tape, found = Tape(), list[object]()
    for _ in range(2):
        with tape.life(), anthropic_client(server) as client:
            found.append(client.beta.messages.create(**HELLO, max_tokens=9, betas=["files-api-2025-04-14"]))
            with client.beta.messages.stream(**HELLO, max_tokens=9) as stream:
                found.append(stream.get_final_message())
    assert found[:2] == found[2:]
    assert repr(found[:2]) == repr(found[2:])
    assert isinstance(found[0], BetaMessage)
    assert asked_of(server) == 2


def test_only_what_the_model_sees_takes_part(server: ModelServer) -> None:
    tape = Tape()
    with tape.life(), openai_client(server) as client, anthropic_client(server) as other:
        client.chat.completions.create(**HELLO, user="a", metadata={"trace": "1"}, extra_headers={"x-trace": "1"})
        other.messages.create(**HELLO, max_tokens=9, metadata={"user_id": "a"})
    with tape.life() as session, openai_client(server) as client, anthropic_client(server) as other:
        client.chat.completions.create(**HELLO, user="b", timeout=3, extra_headers={"x-trace": "2"})
        other.messages.create(**HELLO, max_tokens=9)
        assert session.reused == 2
    with pytest.raises((Divergence, RunStopped), match="temperature"), tape.life(), openai_client(server) as client:
        client.chat.completions.create(**HELLO, temperature=0.5)


def test_what_is_said_beside_the_clients_words_takes_part(server: ModelServer) -> None:
    tape = Tape()
    with tape.life(), openai_client(server) as client:
        client.chat.completions.create(**HELLO, extra_body={"top_k": 3})
    with pytest.raises(Divergence), tape.life(), openai_client(server) as client:
        client.chat.completions.create(**HELLO, extra_body={"top_k": 4})


def test_equal_questions_are_numbered_and_parallel_ones_kept_apart(server: ModelServer) -> None:
    async def ask() -> list[str | None]:
        async with async_openai_client(server) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(**HELLO) for _ in range(3)])
        return [answer.choices[0].message.content for answer in answers]

    tape, found = Tape(), list[list[str | None]]()
    for _ in range(2):
        with tape.life():
            found.append(asyncio.run(ask()))
    assert found[0] == found[1]
    assert len(set(found[0])) == 3
    assert asked_of(server) == 3


def test_below_a_recorded_model_call_nothing_is_recorded_twice(server: ModelServer) -> None:
    instrument(["langgraph", "openai"])
    tape = Tape()
    with tape.life():
        model = model_of(server)
        model.invoke([HumanMessage("hello")])
        list(model.stream([HumanMessage("hello")]))
        asyncio.run(model.ainvoke([HumanMessage("hello")]))
    told = {line.attributes[names.FRAMEWORK] for line in tape.calls(NodeType.PROMPT)}
    assert (len(tape.calls(NodeType.PROMPT)), told) == (3, {"langgraph"})
    assert asked_of(server) == 3


def test_within_a_recorded_prompt_of_the_users_it_passes(server: ModelServer) -> None:
    tape = Tape()
    for _ in range(2):
        with tape.life(), openai_client(server) as client:

            @ls.step
            def ask() -> str:
                return str(client.chat.completions.create(**HELLO).choices[0].message.content)

            assert ask().endswith("hello")
    assert len(tape.calls(NodeType.PROMPT)) == 1
    assert asked_of(server) == 1


class Embedding(BaseHTTPRequestHandler):
    """Answers each question with one vector, as base64."""

    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        Embedding.asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        vector = base64.b64encode(struct.pack("<3f", 0.5, -1.25, Embedding.asked)).decode()
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        body = json.dumps({"object": "list", "model": "e", "data": data, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        del format, args


def test_embeddings_are_memory() -> None:
    tape, found = Tape(), list[Any]()
    with serving(Embedding) as url:
        for _ in range(2):
            with tape.life(), openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
                found.append(client.embeddings.create(model="e", input=["a kettle"]))
    assert found[0] == found[1]
    assert found[1].data[0].embedding == [0.5, -1.25, 1.0]
    assert found[1]._request_id == "req_1"
    assert Embedding.asked == 1
    assert [line.attributes[names.MODEL] for line in tape.calls(NodeType.MEMORY, "ended")] == ["e"]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Generator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def test_everything_is_put_back() -> None:
    from openai import _base_client  # pyright: ignore[reportPrivateUsage]

    uninstrument()
    before = (_base_client.SyncAPIClient.request, anthropic.Anthropic.request)
    instrument(["openai", "anthropic"])
    assert before[0] is not _base_client.SyncAPIClient.request
    uninstrument()
    assert before == (_base_client.SyncAPIClient.request, anthropic.Anthropic.request)
