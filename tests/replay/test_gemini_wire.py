"""The model server in Gemini's words, by bare HTTP; Google's own client speaks to it in tests/matrix/inside."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from livespan.replay.testing import ModelServer

PATH = "/as/shop/v1beta/models/m:generateContent"
ASKED: dict[str, Any] = {"role": "user", "parts": [{"text": "pay order-17"}]}
OFFERED: list[dict[str, Any]] = [
    {"functionDeclarations": [{"name": "charge_card", "parameters": {"properties": {"cents": {"type": "INTEGER"}}}}]}
]

REFUSED: list[tuple[list[Any], str]] = [
    ([], "contents"),
    ([{"role": "assistant", "parts": []}], "payload"),
    (
        [ASKED, {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}],
        "number of function",
    ),
    ([ASKED, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}], "followed"),
    ([ASKED, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, ASKED], "number of function"),
    ([{"role": "user", "parts": [{"functionCall": {"name": "f"}}]}], "role 'model'"),
]


@pytest.fixture(params=[True, False], ids=["ids", "no ids"])
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    with ModelServer(random_ids=request.param) as running:
        yield running


def post(server: ModelServer, contents: list[Any], path: str = PATH, **more: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("POST", path, json.dumps({"contents": contents, **more}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answered(server: ModelServer, contents: list[Any], **more: Any) -> dict[str, Any]:
    status, body = post(server, contents, **more)
    assert status == 200
    held: dict[str, Any] = json.loads(body)
    return held


def responses(content: dict[str, Any]) -> dict[str, Any]:
    """Return what answers the function calls of a content."""
    calls = [part["functionCall"] for part in content["parts"]]
    parts = [
        {
            "functionResponse": {
                **{word: call[word] for word in ("name", "id") if word in call},
                "response": {"result": "ok"},
            }
        }
        for call in calls
    ]
    return {"role": "user", "parts": parts}


def test_a_conversation_with_function_calls_goes_to_its_end(server: ModelServer) -> None:
    contents = [ASKED]
    for _ in range(2):
        answer = answered(server, contents, tools=OFFERED)["candidates"][0]
        contents += [answer["content"], responses(answer["content"])]
    last = answered(server, contents, tools=OFFERED)
    assert last["candidates"][0]["content"] == {"role": "model", "parts": [{"text": "order-17 is paid: ok"}]}
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"]["promptTokenCount"] > 0
    assert server.counts("shop").answers == 3


def test_ids_are_given_where_the_server_gives_ids(server: ModelServer) -> None:
    parts = answered(server, [ASKED], tools=OFFERED)["candidates"][0]["content"]["parts"]
    ids = {part["functionCall"].get("id") for part in parts}
    assert len(parts) == 2
    assert ids == {None} or (len(ids) == 2 and None not in ids)


def test_a_streamed_answer_comes_in_pieces(server: ModelServer) -> None:
    status, body = post(server, [ASKED], PATH.replace(":g", ":streamG") + "?alt=sse")
    events = [json.loads(line.removeprefix(b"data: ")) for line in body.split(b"\r\n\r\n") if line]
    assert status == 200
    assert len(events) > 2
    text = "".join(part["text"] for event in events for part in event["candidates"][0]["content"]["parts"])
    assert text.endswith("to: pay order-17")
    assert ["finishReason" in event["candidates"][0] for event in events].count(True) == 1


@pytest.mark.parametrize(("contents", "said"), REFUSED)
def test_what_the_api_would_refuse_is_refused(server: ModelServer, contents: list[Any], said: str) -> None:
    status, body = post(server, contents)
    error = json.loads(body)["error"]
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert said in error["message"]
    assert server.counts("shop").refused == 1
