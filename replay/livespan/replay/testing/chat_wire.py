"""The bytes of POST /v1/chat/completions: requests checked, answers and errors written.

Source of the format: OpenAI's API reference, "Chat Completions". What is checked is what a
recovery bug would break and the real API refuses: roles, the pairing of tool calls with tool
messages by id, tools that are functions. Unknown fields are let through. One choice (`n` = 1), no
logprobs, no audio. The other wires share its checks, its counts and its ids.

Tool calls without an id get one here: a digest of the conversation, so that a question asked
again gets the same id, or, as real models do, a fresh one for each answer (`random_ids`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, Literal, cast

import msgspec

from livespan.proto.clock import random_hex, wall_ns
from livespan.replay.testing.script import Conversation, Message, Reply, Role, ToolCall

__all__ = [
    "Answer",
    "ChatRequest",
    "RefusedError",
    "answer_for",
    "arguments_of",
    "check_pairs",
    "conversation_digest",
    "count_tokens",
    "error_body",
    "parse_request",
    "pieces",
    "usage_of",
    "with_ids",
]

_BYTES_PER_TOKEN: Final = 4
_PIECE: Final = 12
"""Characters per streamed delta: small, so that a stream has several."""


class RefusedError(Exception):
    """The request is not one that the API would take; `status` is its HTTP status."""

    def __init__(self, message: str, *, param: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status


class _Function(msgspec.Struct, frozen=True):
    name: str
    arguments: str = ""


class _WireToolCall(msgspec.Struct, frozen=True):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class _WireMessage(msgspec.Struct, frozen=True):
    role: Role
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_WireToolCall] | None = None
    tool_call_id: str | None = None


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, Any] = {}


class _Offered(msgspec.Struct, frozen=True):
    name: str
    parameters: _Schema | None = None


class _WireTool(msgspec.Struct, frozen=True):
    function: _Offered
    type: Literal["function"]


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _WireRequest(msgspec.Struct, frozen=True):
    model: str
    messages: list[_WireMessage]
    tools: list[_WireTool] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    n: int | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked request. `user` is "" where the request names none."""

    model: str
    conversation: Conversation
    stream: bool
    include_usage: bool
    user: str


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in `body`. Raises RefusedError with what the API would say is wrong."""
    try:
        wire = msgspec.json.decode(body, type=_WireRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"We could not parse the JSON body of your request: {error}") from error
    if not wire.messages:
        raise RefusedError("[] is too short - 'messages'", param="messages")
    if wire.n not in (None, 1):
        raise RefusedError("this server gives one choice per request", param="n")
    messages = tuple(_message(index, message) for index, message in enumerate(wire.messages))
    check_pairs(messages)
    return ChatRequest(
        model=wire.model,
        conversation=Conversation(
            messages,
            tuple(tool.function.name for tool in wire.tools or ()),
            {tool.function.name: _parameters(tool.function) for tool in wire.tools or ()},
        ),
        stream=bool(wire.stream),
        include_usage=wire.stream_options is not None and wire.stream_options.include_usage,
        user=wire.user or "",
    )


def _parameters(tool: _Offered) -> tuple[str, ...]:
    return tuple(tool.parameters.properties) if tool.parameters is not None else ()


def _message(index: int, wire: _WireMessage) -> Message:
    where = f"messages.[{index}]"
    if isinstance(wire.content, list):
        text = "".join(str(part.get("text", "")) for part in wire.content)
    else:
        text = wire.content or ""
    if wire.content is None and not (wire.role == "assistant" and wire.tool_calls):
        raise RefusedError(f"Invalid value for 'content' of {where}: null", param=f"{where}.content")
    if wire.tool_calls and wire.role != "assistant":
        raise RefusedError(f"{where}: role {wire.role!r} has no tool_calls", param=where)
    calls = tuple(
        ToolCall(call.function.name, arguments_of(call.function.arguments, where), call.id)
        for call in wire.tool_calls or ()
    )
    return Message(wire.role, text, calls, wire.tool_call_id or "")


def arguments_of(written: str, where: str) -> dict[str, object]:
    """Return a tool call's arguments; `where` names the call in a refusal."""
    try:
        arguments = json.loads(written or "{}")
    except ValueError as error:
        raise RefusedError(f"{where}: tool call arguments are not JSON", param=where) from error
    if not isinstance(arguments, dict):
        raise RefusedError(f"{where}: tool call arguments are not an object", param=where)
    return cast("dict[str, object]", arguments)


def check_pairs(messages: tuple[Message, ...]) -> None:
    """Refuse tool messages that answer no call, and calls that were left without an answer."""
    open_ids: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_ids:
                raise RefusedError(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    f"preceding message with 'tool_calls' (tool_call_id {message.tool_call_id!r}).",
                    param=f"messages.[{index}].role",
                )
            open_ids.discard(message.tool_call_id)
            continue
        _check_none_open(open_ids, index)
        open_ids = {call.call_id for call in message.tool_calls}
        if len(open_ids) != len(message.tool_calls):
            raise RefusedError("Duplicate tool call ids.", param=f"messages.[{index}].tool_calls")
    _check_none_open(open_ids, len(messages))


def _check_none_open(open_ids: set[str], index: int) -> None:
    if open_ids:
        raise RefusedError(
            "An assistant message with 'tool_calls' must be followed by tool messages "
            "responding to each 'tool_call_id'. The following tool_call_ids did not have "
            "response messages: " + ", ".join(sorted(open_ids)),
            param=f"messages.[{index}].role",
        )


def error_body(message: str, *, param: str = "", kind: str = "invalid_request_error") -> bytes:
    """Return an error as the API writes it."""
    error = {"message": message, "type": kind, "param": param or None, "code": None}
    return json.dumps({"error": error}).encode()


class Answer(msgspec.Struct, frozen=True):
    """One answer, ready to be written: `whole()` as a JSON body, `events()` as a stream."""

    answer_id: str
    created_s: int
    model: str
    reply: Reply
    usage: dict[str, Any]
    include_usage: bool

    def whole(self) -> bytes:
        """Return the body of a plain answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.reply.text or None,
            "refusal": None,
        }
        if self.reply.tool_calls:
            message["tool_calls"] = [_wire_call(call) for call in self.reply.tool_calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason(),
        }
        head = self._head("chat.completion")
        return json.dumps({**head, "choices": [choice], "usage": self.usage}).encode()

    def events(self) -> Iterator[bytes]:
        """Yield the server-sent events of a streamed answer, `[DONE]` included."""
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces(self.reply.text):
            yield self._chunk({"content": piece})
        for index, call in enumerate(self.reply.tool_calls):
            wire = _wire_call(call)
            arguments: str = wire["function"]["arguments"]
            wire["function"]["arguments"] = ""
            yield self._chunk({"tool_calls": [{"index": index, **wire}]})
            for piece in pieces(arguments):
                delta = {"index": index, "function": {"arguments": piece}}
                yield self._chunk({"tool_calls": [delta]})
        yield self._chunk({}, finish_reason=self._finish_reason())
        if self.include_usage:
            head = self._head("chat.completion.chunk")
            yield _event({**head, "choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    def _finish_reason(self) -> str:
        return "tool_calls" if self.reply.tool_calls else "stop"

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.answer_id,
            "object": kind,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": "fp_livespan",
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice]})


def answer_for(request: ChatRequest, reply: Reply, *, random_ids: bool) -> Answer:
    """Return the answer that carries `reply`, with ids and token counts."""
    answer_id, reply = with_ids(request, reply, random_ids=random_ids)
    return Answer(
        answer_id=f"chatcmpl-{answer_id}",
        created_s=wall_ns() // 1_000_000_000,
        model=request.model,
        reply=reply,
        usage=usage_of(request.conversation, reply),
        include_usage=request.include_usage,
    )


def with_ids(request: ChatRequest, reply: Reply, *, random_ids: bool, prefix: str = "call_") -> tuple[str, Reply]:
    """Return an id for an answer, without its kind's prefix, and the reply with ids for its tool calls."""
    digest = conversation_digest(request.conversation)
    calls = tuple(
        call if call.call_id else replace(call, call_id=prefix + (random_hex(12) if random_ids else f"{digest}{index}"))
        for index, call in enumerate(reply.tool_calls)
    )
    return random_hex(12) if random_ids else digest, replace(reply, tool_calls=calls)


def _wire_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": call.call_id, "type": "function", "function": function}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def pieces(text: str) -> Iterator[str]:
    """Yield a text as a stream's deltas carry it."""
    return (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))


def conversation_digest(conversation: Conversation) -> str:
    """Return what tells one conversation from another."""
    return blake2b(msgspec.json.encode(conversation), digest_size=11).hexdigest()


def count_tokens(text: str, calls: tuple[ToolCall, ...]) -> int:
    """Return the tokens of a message: one for each four bytes."""
    size = len(text.encode()) + sum(len(json.dumps(_wire_call(call))) for call in calls)
    return -(-size // _BYTES_PER_TOKEN)


def usage_of(conversation: Conversation, reply: Reply) -> dict[str, Any]:
    """Count a token per four bytes; what stands before and in the last answer counts as cached."""
    sizes = [count_tokens(message.text, message.tool_calls) for message in conversation.messages]
    answered = [i for i, message in enumerate(conversation.messages) if message.role == "assistant"]
    cached = sum(sizes[: answered[-1] + 1]) if answered else 0
    prompt = sum(sizes)
    completion = max(1, count_tokens(reply.text, reply.tool_calls))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
