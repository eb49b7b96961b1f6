"""The model server as its clients see it: langchain's OpenAI client, sockets, other processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from langchain import agents
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from livespan.replay.testing import Counts, ModelControl, ModelProcess, ModelServer
from livespan.replay.testing.model_server import LABEL_HEADER
from livespan.replay.testing.script import Conversation, Message, Reply, ToolCall, order_script

# The signatures of these two are only partly typed in their own packages.
create_agent: Callable[..., Any] = cast("Any", agents).create_agent
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

STARTS_A_MODEL = """
import sys, time
from pathlib import Path
from livespan.replay.testing import ModelProcess
model = ModelProcess(Path(sys.argv[1]))
print(model.pid, flush=True)
time.sleep(600)
"""


@tool
def look_up_order(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id}: a kettle"


@tool
def check_stock(order_id: str) -> str:
    """Check the stock."""
    return f"{order_id}: 3 left"


@tool
def charge_card(cents: int) -> dict[str, object]:
    """Charge the card."""
    return {"receipt": "rc-1", "cents": cents}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def client(base_url: str, label: str = "a", **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="m",
        base_url=base_url,
        api_key=SecretStr("none"),
        max_retries=0,
        timeout=20,
        default_headers={LABEL_HEADER: label},
        **options,
    )


def post(port: int, body: object, path: str = "/v1/chat/completions") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, raw, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def within(seconds: float, fact: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_an_answer_has_text_and_token_counts_and_is_counted(server: ModelServer) -> None:
    answer = client(server.base_url).invoke("hello")
    assert isinstance(answer.content, str)
    assert answer.content.endswith("to: hello")
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == 2
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert server.counts("a") == Counts(requests=1, answers=1)


def test_a_plain_question_asked_twice_gets_two_answers(server: ModelServer) -> None:
    model = client(server.base_url)
    assert model.invoke("hello").content != model.invoke("hello").content


def test_a_streamed_answer_comes_in_pieces_and_carries_usage(server: ModelServer) -> None:
    pieces = list(client(server.base_url, stream_usage=True).stream("hello"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole + piece
    assert len([piece for piece in pieces if piece.content]) > 1
    assert isinstance(whole.content, str)
    assert whole.content.endswith("to: hello")
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["input_tokens"] == 2
    assert server.counts("a") == Counts(requests=1, answers=1)


def test_streamed_tool_calls_are_those_of_a_whole_answer(server: ModelServer) -> None:
    bare = cast("Any", client(server.base_url))
    model = bare.bind_tools([look_up_order, check_stock, charge_card])
    whole: AIMessage = model.invoke("pay order-9")
    streamed: Any = None
    for piece in model.stream("pay order-9"):
        streamed = piece if streamed is None else streamed + piece
    assert isinstance(streamed, AIMessage)
    assert [call["name"] for call in whole.tool_calls] == ["look_up_order", "check_stock"]
    assert streamed.tool_calls == whole.tool_calls
    assert whole.tool_calls[0]["args"] == {"order_id": "order-9"}


def test_an_agent_reads_twice_charges_once_and_quotes_the_receipt(server: ModelServer) -> None:
    agent = create_agent(client(server.base_url), [look_up_order, check_stock, charge_card])
    messages: list[BaseMessage] = agent.invoke({"messages": [HumanMessage("pay order-9")]})["messages"]
    used = [message.name for message in messages if isinstance(message, ToolMessage)]
    assert used == ["look_up_order", "check_stock", "charge_card"]
    assert messages[-1].content == 'order-9 is paid: {"receipt": "rc-1", "cents": 4200}'
    assert server.counts("a") == Counts(requests=3, answers=3)


@pytest.mark.parametrize("random_ids", [False, True])
def test_ids_are_of_the_conversation_or_fresh_in_each_answer(random_ids: bool) -> None:
    with ModelServer(order_script, random_ids=random_ids) as server:
        first, second = (client(server.base_url).invoke("pay order-9") for _ in range(2))
        other = client(server.base_url).invoke("pay order-8")
    ids = [[call["id"] for call in answer.tool_calls] for answer in (first, second, other)]
    assert (ids[0] == ids[1]) is not random_ids
    assert ids[0] != ids[2]
    assert len(set(ids[0])) == 2


def test_what_the_last_answer_was_given_for_counts_as_cached() -> None:
    def script(conversation: Conversation) -> Reply:
        return Reply("fine")

    with ModelServer(script) as server:
        history = [HumanMessage("a" * 40), AIMessage("b" * 40), HumanMessage("c" * 40)]
        usage = client(server.base_url).invoke(history).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage.get("input_token_details", {}).get("cache_read")) == (
        30,
        20,
    )


def test_the_label_is_the_header_else_the_user_else_default(server: ModelServer) -> None:
    client(server.base_url, "a").invoke("hello")
    post(server.port, {**QUESTION, "user": "u"})
    post(server.port, QUESTION)
    assert list(server.traffic.counts()) == ["a", "default", "u"]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BAD: list[tuple[Any, str]] = [
    (b"{", "could not parse"),
    ({"messages": QUESTION["messages"]}, "model"),
    ({"model": "m", "messages": []}, "too short"),
    ({"model": "m", "messages": [{"role": "robot", "content": "x"}]}, "robot"),
    ({"model": "m", "messages": [{"role": "user", "content": None}]}, "content"),
    ({**QUESTION, "n": 2}, "one choice"),
    ({**QUESTION, "tools": [{"type": "function", "function": {}}]}, "name"),
    (
        {"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "c1"}]},
        "must be a response",
    ),
    (
        {
            "model": "m",
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "user", "content": "x"},
            ],
        },
        "did not have response messages: c1",
    ),
]


@pytest.mark.parametrize(("body", "words"), BAD)
def test_what_the_api_would_refuse_is_refused_in_its_form(server: ModelServer, body: object, words: str) -> None:
    status, answer = post(server.port, body)
    assert status == 400
    assert words in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"
    assert server.counts("default") == Counts(requests=1, refused=1)


def test_an_unknown_path_is_not_found(server: ModelServer) -> None:
    assert post(server.port, {}, "/v1/completions")[0] == 404


def test_a_held_request_answers_when_it_is_released(server: ModelServer) -> None:
    server.traffic.hold("a", 2)
    model = client(server.base_url)
    model.invoke("first")
    answers: list[BaseMessage] = []
    asking = threading.Thread(target=lambda: answers.append(model.invoke("second")))
    asking.start()
    assert server.traffic.wait_held("a", 2)
    assert server.counts("a") == Counts(requests=2, answers=1, held=(2,))
    assert not answers
    server.traffic.release("a", 2)
    asking.join(10)
    assert len(answers) == 1
    assert server.counts("a") == Counts(requests=2, answers=2)


def test_a_hold_ends_at_its_limit() -> None:
    with ModelServer(hold_limit_s=0.1) as server:
        server.traffic.hold("default", 1)
        with pytest.raises(http.client.RemoteDisconnected):
            post(server.port, QUESTION)
        assert server.counts("default") == Counts(requests=1, abandoned=1)


def test_a_client_that_goes_away_while_held_was_not_answered(server: ModelServer) -> None:
    server.traffic.hold("default", 1)
    body = json.dumps(QUESTION).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as asking:
        asking.sendall(head.encode() + body)
        assert server.traffic.wait_held("default", 1)
    assert within(5, lambda: server.counts("default") == Counts(requests=1, abandoned=1))


def test_many_clients_at_once_are_each_counted_under_their_label(server: ModelServer) -> None:
    def ask(label: str) -> None:
        for _ in range(5):
            assert post(server.port, {**QUESTION, "user": label})[0] == 200

    threads = [threading.Thread(target=ask, args=(f"u{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    expected = {f"u{index}": Counts(requests=5, answers=5) for index in range(8)}
    assert server.traffic.counts() == expected


def test_a_request_without_a_length_is_refused_and_its_connection_closed(
    server: ModelServer,
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as asking:
        asking.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n\r\n")
        received = b""
        while piece := asking.recv(4096):
            received += piece
    assert received.startswith(b"HTTP/1.1 413 ")


def test_another_process_can_hold_release_and_count(tmp_path: Path) -> None:
    with ModelProcess(tmp_path / "port") as process:
        control = ModelControl(process.port)
        control.hold("a", 1)
        answers: list[BaseMessage] = []
        model = client(process.base_url)
        asking = threading.Thread(target=lambda: answers.append(model.invoke("hello")))
        asking.start()
        assert control.wait_held("a", 1)
        assert control.counts("a") == Counts(requests=1, held=(1,))
        assert not control.wait_held("a", 2, timeout_s=0)
        control.release("a")
        asking.join(10)
        assert len(answers) == 1
        assert control.counts("a") == Counts(requests=1, answers=1)
        pid = process.pid
    assert not is_alive(pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTS_A_MODEL, str(tmp_path / "port")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        os.kill(parent.pid, how)
        parent.wait(10)
    assert within(10, lambda: not is_alive(pid))


def test_the_process_ends_with_its_parent_even_if_its_input_stays_open(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "livespan.replay.testing.model_server"]
    command += ["--port-file", str(port_file)]
    program = "import subprocess, sys, time\nchild = subprocess.Popen(sys.argv[1:])\n"
    program += "print(child.pid, flush=True)\ntime.sleep(600)\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdin=read_end,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        os.close(read_end)
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert within(20, port_file.exists)
            assert is_alive(pid)
        finally:
            parent.kill()
            parent.wait(10)
    try:
        assert within(10, lambda: not is_alive(pid))
    finally:
        os.close(write_end)


def test_the_script_handles_only_the_turn_since_the_last_user_message() -> None:
    done = (
        Message("user", "pay order-1"),
        Message("assistant", tool_calls=(ToolCall("look_up_order", {}, "c1"),)),
        Message("tool", "x", tool_call_id="c1"),
        Message("assistant", "order-1 is paid"),
    )
    reply = order_script(Conversation((*done, Message("user", "and now order-2")), ("f",)))
    assert [call.arguments for call in reply.tool_calls] == [{"order_id": "order-2"}] * 2


def test_the_process_ends_when_its_piped_input_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "livespan.replay.testing.model_server"]
    command += ["--port-file", str(tmp_path / "port")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            assert within(20, (tmp_path / "port").exists)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_client_that_left_before_the_answer_was_ready_was_not_answered() -> None:
    asked, left = threading.Event(), threading.Event()

    def script(conversation: Conversation) -> Reply:
        asked.set()
        left.wait(10)
        return Reply("too late")

    body = json.dumps(QUESTION).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
    with ModelServer(script) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as asking:
            asking.sendall(head.encode() + body)
            assert asked.wait(10)
        left.set()
        assert within(5, lambda: server.counts("default") == Counts(requests=1, abandoned=1))
