"""The bytes of POST /v1beta/models/M:generateContent and :streamGenerateContent?alt=sse, in and out.

Source of the format: Google's Gemini API reference, "Generating content". Checked is what a recovery bug would break
and the real API refuses: roles, and that every answer with function calls is followed by as many function responses,
of the same names and, where they have some, ids. Unknown fields are let through. One candidate, text and functions.

With `random_ids` function calls have fresh ids, as newer models give; without they have none, as older ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from livespan.proto.clock import random_hex
from livespan.replay.testing.chat_wire import ChatRequest, RefusedError, count_tokens, pieces
from livespan.replay.testing.script import Conversation, Message, Reply, ToolCall

__all__ = ["GeminiAnswer", "GeminiWire", "wire_for"]

_PATH: Final = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)")


class _Call(msgspec.Struct, frozen=True):
    name: str
    args: dict[str, Any] = {}
    id: str = ""


class _Response(msgspec.Struct, frozen=True):
    name: str
    response: dict[str, Any]
    id: str = ""


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    text: str = ""
    function_call: _Call | None = None
    function_response: _Response | None = None


class _Content(msgspec.Struct, frozen=True):
    parts: list[_Part]
    role: Literal["user", "model", "function"] = "user"


class _Declaration(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    parameters: dict[str, Any] = {}
    parameters_json_schema: dict[str, Any] = {}


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    function_declarations: list[_Declaration] = []


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    contents: list[_Content]
    system_instruction: _Content | None = None
    tools: list[_Tool] = []


@dataclass(frozen=True, slots=True)
class GeminiAnswer:
    """One answer, ready to be written: `whole()` as a JSON body, `events()` as a stream."""

    model: str
    reply: Reply
    prompt_tokens: int

    def whole(self) -> bytes:
        """Return the body of a plain answer."""
        return json.dumps(self._body(self._parts([self.reply.text]), last=True)).encode()

    def events(self) -> Iterator[bytes]:
        """Yield the server-sent events of a streamed answer: texts in pieces, then function calls and the end."""
        for piece in pieces(self.reply.text):
            yield _event(self._body([{"text": piece}], last=False))
        yield _event(self._body(self._parts([]), last=True))

    def _parts(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"text": text} for text in texts if text]
        for call in self.reply.tool_calls:
            wire: dict[str, Any] = {"name": call.name, "args": dict(call.arguments)}
            if call.call_id:
                wire["id"] = call.call_id
            parts.append({"functionCall": wire})
        return parts

    def _body(self, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        body: dict[str, Any] = {"candidates": [candidate], "modelVersion": self.model}
        if last:
            candidate["finishReason"] = "STOP"
            answered = count_tokens(self.reply.text, self.reply.tool_calls)
            body["usageMetadata"] = {
                "promptTokenCount": self.prompt_tokens,
                "candidatesTokenCount": answered,
                "totalTokenCount": self.prompt_tokens + answered,
            }
        return body


@dataclass(frozen=True, slots=True)
class GeminiWire:
    """The wire of one request, whose path names its model and whether its answer is streamed."""

    model: str
    stream: bool

    def parse_request(self, body: bytes) -> ChatRequest:
        """Return the request in `body`. Raises RefusedError with what the API would say is wrong."""
        try:
            wire = msgspec.json.decode(body, type=_Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RefusedError(f"Invalid JSON payload received. {error}") from error
        if not wire.contents:
            raise RefusedError("* GenerateContentRequest.contents: contents is not specified")
        _check_pairs(wire.contents)
        offered = {one.name: one for tool in wire.tools for one in tool.function_declarations}
        known = {
            name: tuple((one.parameters or one.parameters_json_schema).get("properties", ()))
            for name, one in offered.items()
        }
        system = [Message("system", _text(wire.system_instruction))] if wire.system_instruction else []
        messages = (*system, *(message for content in wire.contents for message in _messages(content)))
        return ChatRequest(self.model, Conversation(messages, tuple(offered), known), self.stream, True, "")

    def answer_for(self, request: ChatRequest, reply: Reply, *, random_ids: bool) -> GeminiAnswer:
        """Return the answer that carries `reply`."""
        calls = tuple(
            ToolCall(call.name, call.arguments, call.call_id or (f"fc-{random_hex(8)}" if random_ids else ""))
            for call in reply.tool_calls
        )
        asked = sum(count_tokens(message.text, message.tool_calls) for message in request.conversation.messages)
        return GeminiAnswer(self.model, Reply(reply.text, calls), asked)

    def error_body(self, message: str, *, param: str = "") -> bytes:
        """Return an error as the API writes it."""
        del param
        return json.dumps({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}).encode()


def wire_for(path: str) -> GeminiWire | None:
    """Return the wire of a path, None where it is not one of this API's."""
    match = _PATH.fullmatch(path)
    return GeminiWire(match[1], match[2] == "streamGenerateContent") if match else None


def _messages(content: _Content) -> Iterator[Message]:
    calls = tuple(
        ToolCall(call.name, call.args, call.id) for part in content.parts if (call := part.function_call) is not None
    )
    for part in content.parts:
        response = part.function_response
        if response is not None:
            result = response.response.get("result")
            text = result if isinstance(result, str) else json.dumps(response.response)
            yield Message("tool", text, tool_call_id=response.id)
    if content.role == "model" or _text(content):
        yield Message("assistant" if content.role == "model" else "user", _text(content), calls)


def _text(content: _Content) -> str:
    return "".join(part.text for part in content.parts)


def _check_pairs(contents: list[_Content]) -> None:
    """Refuse calls that were left without a response, and responses to no call."""
    asked: list[tuple[str, str]] = []
    for content in contents:
        calls = [(call.name, call.id) for part in content.parts if (call := part.function_call) is not None]
        given = [(one.name, one.id) for part in content.parts if (one := part.function_response) is not None]
        if sorted(given) != sorted(asked):
            raise RefusedError(
                "Please ensure that the number of function response parts is equal to the number of function call "
                f"parts of the function call turn: called were {asked}, answered {given}."
            )
        if calls and content.role != "model":
            raise RefusedError("Please ensure that function call turn comes from the role 'model'.")
        asked = calls
    if asked:
        raise RefusedError("Please ensure that function call turn is followed by a function response turn.")


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"
