"""The bytes of POST /v1/responses: requests checked, answers written.

Source of the format: OpenAI's API reference, "Responses" and its streaming events. Checked is what the real API
refuses and a recovery bug would break: the pairing of function calls with their outputs by `call_id`. It keeps no
responses, so `previous_response_id` and `conversation` are refused. Reasoning items and tools of the server's own are
let through and mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import msgspec

from livespan.proto.clock import wall_ns
from livespan.replay.testing.chat_wire import (
    ChatRequest,
    RefusedError,
    arguments_of,
    check_pairs,
    pieces,
    usage_of,
    with_ids,
)
from livespan.replay.testing.script import Conversation, Message, Reply, Role, ToolCall

__all__ = ["ResponseAnswer", "answer_for", "parse_request"]


class _Item(msgspec.Struct, frozen=True):
    type: str = "message"
    role: Role = "assistant"
    content: str | list[dict[str, Any]] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[dict[str, Any]] = ""


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, Any] = {}


class _WireTool(msgspec.Struct, frozen=True):
    type: str
    name: str = ""
    parameters: _Schema | None = None


class _WireRequest(msgspec.Struct, frozen=True):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    tools: list[_WireTool] | None = None
    stream: bool | None = None
    user: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in `body`. Raises RefusedError with what the API would say is wrong."""
    try:
        wire = msgspec.json.decode(body, type=_WireRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"We could not parse the JSON body of your request: {error}") from error
    if wire.previous_response_id is not None or wire.conversation is not None:
        raise RefusedError("this server keeps no responses", param="previous_response_id")
    messages = [Message("system", wire.instructions)] if wire.instructions else []
    items = [_Item(role="user", content=wire.input)] if isinstance(wire.input, str) else wire.input
    for index, item in enumerate(items):
        _add(messages, item, f"input[{index}]")
    check_pairs(tuple(messages))
    functions = [tool for tool in wire.tools or () if tool.type == "function"]
    tools = {tool.name: tuple(tool.parameters.properties) if tool.parameters else () for tool in functions}
    return ChatRequest(
        model=wire.model,
        conversation=Conversation(tuple(messages), tuple(tools), tools),
        stream=bool(wire.stream),
        include_usage=True,
        user=wire.user or "",
    )


def _add(messages: list[Message], item: _Item, where: str) -> None:
    """Add an item as a script sees it: calls that follow each other, or a text of the model, are one message."""
    if item.type == "message":
        messages.append(Message(item.role, _text(item.content or "")))
    elif item.type == "function_call":
        call = ToolCall(item.name, arguments_of(item.arguments, where), item.call_id)
        if messages and messages[-1].role == "assistant":
            messages[-1] = replace(messages[-1], tool_calls=(*messages[-1].tool_calls, call))
        else:
            messages.append(Message("assistant", tool_calls=(call,)))
    elif item.type == "function_call_output":
        messages.append(Message("tool", _text(item.output), tool_call_id=item.call_id))


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


class ResponseAnswer(msgspec.Struct, frozen=True):
    """One answer, ready to be written: `whole()` as a JSON body, `events()` as a stream."""

    answer_id: str
    created_s: int
    model: str
    reply: Reply
    usage: dict[str, Any]

    def whole(self) -> bytes:
        """Return the body of a plain answer."""
        return json.dumps(self._response("completed")).encode()

    def events(self) -> Iterator[bytes]:
        """Yield the server-sent events of a streamed answer."""
        for number, event in enumerate(self._events()):
            yield f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()

    def _events(self) -> Iterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self._response("in_progress")}
        yield {"type": "response.in_progress", "response": self._response("in_progress")}
        for index, item in enumerate(self._output()):
            empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
            started = {**item, **empty, "status": "in_progress"}
            yield {"type": "response.output_item.added", "output_index": index, "item": started}
            yield from self._parts(item, {"item_id": item["id"], "output_index": index})
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": self._response("completed")}

    def _parts(self, item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if item["type"] == "function_call":
            kind = "response.function_call_arguments"
            for piece in pieces(item["arguments"]):
                yield {"type": f"{kind}.delta", **place, "delta": piece}
            yield {"type": f"{kind}.done", **place, "name": item["name"], "arguments": item["arguments"]}
            return
        part = cast("dict[str, Any]", item["content"][0])
        place = {**place, "content_index": 0}
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}

    def _output(self) -> list[dict[str, Any]]:
        output: list[dict[str, Any]] = []
        if self.reply.text:
            part: dict[str, Any] = {"type": "output_text", "text": self.reply.text, "annotations": [], "logprobs": []}
            head = {"type": "message", "id": f"msg_{self.answer_id}", "role": "assistant", "status": "completed"}
            output.append({**head, "content": [part]})
        for index, call in enumerate(self.reply.tool_calls):
            arguments = json.dumps(dict(call.arguments))
            head = {"type": "function_call", "id": f"fc_{self.answer_id}{index}", "status": "completed"}
            output.append({**head, "call_id": call.call_id, "name": call.name, "arguments": arguments})
        return output

    def _response(self, status: str) -> dict[str, Any]:
        ended = status == "completed"
        return {
            "id": f"resp_{self.answer_id}",
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self.model,
            "output": self._output() if ended else [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": self.usage if ended else None,
        }


def answer_for(request: ChatRequest, reply: Reply, *, random_ids: bool) -> ResponseAnswer:
    """Return the answer that carries `reply`, with ids and token counts."""
    answer_id, reply = with_ids(request, reply, random_ids=random_ids)
    counted = usage_of(request.conversation, reply)
    usage = {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": counted["prompt_tokens_details"]["cached_tokens"]},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["total_tokens"],
    }
    return ResponseAnswer(answer_id, wall_ns() // 1_000_000_000, request.model, reply, usage)
