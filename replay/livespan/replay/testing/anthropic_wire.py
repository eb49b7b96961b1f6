"""The bytes of POST /v1/messages: requests checked, answers and errors written.

Source of the format: Anthropic's API reference, "Messages" and "Streaming Messages". Checked is what the real API
refuses and a recovery bug would break: roles, the pairing of `tool_use` with `tool_result` by id, and that results
come first in their message. Unknown fields are let through. No thinking, no images, no tools of the server's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal, cast

import msgspec

from livespan.replay.testing.chat_wire import (
    ChatRequest,
    RefusedError,
    check_pairs,
    pieces,
    usage_of,
    with_ids,
)
from livespan.replay.testing.script import Conversation, Message, Reply, ToolCall

__all__ = ["MessageAnswer", "answer_for", "error_body", "parse_request"]

_BLOCKS: Final = {"user": frozenset({"text", "tool_result"}), "assistant": frozenset({"text", "tool_use"})}


class _Block(msgspec.Struct, frozen=True):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None
    tool_use_id: str = ""
    content: str | list[dict[str, Any]] = ""


class _WireMessage(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, Any] = {}


class _WireTool(msgspec.Struct, frozen=True):
    name: str
    input_schema: _Schema


class _Metadata(msgspec.Struct, frozen=True):
    user_id: str | None = None


class _WireRequest(msgspec.Struct, frozen=True):
    model: str
    max_tokens: int
    messages: list[_WireMessage]
    system: str | list[_Block] = ""
    tools: list[_WireTool] = []
    stream: bool = False
    metadata: _Metadata = _Metadata()


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in `body`. Raises RefusedError with what the API would say is wrong."""
    try:
        wire = msgspec.json.decode(body, type=_WireRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(str(error)) from error
    if not wire.messages:
        raise RefusedError("messages: at least one message is required", param="messages")
    system = _text(wire.system)
    messages = [Message("system", system)] if system else []
    for index, message in enumerate(wire.messages):
        messages += _messages(f"messages.{index}", message)
    check_pairs(tuple(messages))
    tools = {tool.name: tuple(tool.input_schema.properties) for tool in wire.tools}
    return ChatRequest(
        model=wire.model,
        conversation=Conversation(tuple(messages), tuple(tools), tools),
        stream=wire.stream,
        include_usage=True,
        user=wire.metadata.user_id or "",
    )


def _messages(where: str, wire: _WireMessage) -> Iterator[Message]:
    """Yield a message as a script sees it: each result of a tool is a message of its own."""
    if isinstance(wire.content, str):
        yield Message(wire.role, wire.content)
        return
    kinds = [block.type for block in wire.content]
    if not set(kinds) <= _BLOCKS[wire.role]:
        raise RefusedError(f"{where}: a message of role {wire.role} has no blocks {sorted(set(kinds))}", param=where)
    if kinds != sorted(kinds, key="text".__eq__) and wire.role == "user":
        raise RefusedError(f"{where}: `tool_result` blocks come before all others", param=where)
    if wire.role == "assistant":
        calls = [ToolCall(one.name, one.input or {}, one.id) for one in wire.content if one.type == "tool_use"]
        yield Message("assistant", _text(wire.content), tuple(calls))
        return
    for block in wire.content:
        if block.type == "tool_result":
            yield Message("tool", _result(block.content), tool_call_id=block.tool_use_id)
    if "text" in kinds:
        yield Message("user", _text(wire.content))


def _text(content: str | list[_Block]) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content)


def _result(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def error_body(message: str, *, param: str = "", kind: str = "invalid_request_error") -> bytes:
    """Return an error as the API writes it; it has no place for the parameter's name."""
    del param
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


class MessageAnswer(msgspec.Struct, frozen=True):
    """One answer, ready to be written: `whole()` as a JSON body, `events()` as a stream."""

    answer_id: str
    model: str
    reply: Reply
    usage: dict[str, int]

    def whole(self) -> bytes:
        """Return the body of a plain answer."""
        return json.dumps(self._message(self._blocks(), self._stop_reason())).encode()

    def events(self) -> Iterator[bytes]:
        """Yield the server-sent events of a streamed answer."""
        yield _event({"type": "message_start", "message": self._message([], None)})
        for index, block in enumerate(self._blocks()):
            called = block["type"] == "tool_use"
            empty: dict[str, Any] = {**block, "input": {}} if called else {**block, "text": ""}
            yield _event({"type": "content_block_start", "index": index, "content_block": empty})
            for piece in pieces(json.dumps(block["input"]) if called else block["text"]):
                delta = {"type": "input_json_delta", "partial_json": piece} if called else _text_delta(piece)
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        end = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        usage = {"output_tokens": self.usage["output_tokens"]}
        yield _event({"type": "message_delta", "delta": end, "usage": usage})
        yield _event({"type": "message_stop"})

    def _blocks(self) -> list[dict[str, Any]]:
        text: list[dict[str, Any]] = [{"type": "text", "text": self.reply.text}] if self.reply.text else []
        return text + [
            {"type": "tool_use", "id": call.call_id, "name": call.name, "input": dict(call.arguments)}
            for call in self.reply.tool_calls
        ]

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": self.answer_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": self.usage if stop_reason else {**self.usage, "output_tokens": 1},
        }

    def _stop_reason(self) -> str:
        return "tool_use" if self.reply.tool_calls else "end_turn"


def answer_for(request: ChatRequest, reply: Reply, *, random_ids: bool) -> MessageAnswer:
    """Return the answer that carries `reply`, with ids and token counts."""
    answer_id, reply = with_ids(request, reply, random_ids=random_ids, prefix="toolu_")
    counted = usage_of(request.conversation, reply)
    cached = cast("dict[str, int]", counted["prompt_tokens_details"])["cached_tokens"]
    usage = {
        "input_tokens": counted["prompt_tokens"] - cached,
        "output_tokens": counted["completion_tokens"],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }
    return MessageAnswer(f"msg_{answer_id}", request.model, reply, usage)


def _text_delta(piece: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": piece}


def _event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()
