"""Messages of a conversation, from each convention's spelling to one: OpenTelemetry's GenAI form.

    [{"role": "assistant", "parts": [{"type": "text", "content": ...},
                                     {"type": "tool_call", "id": ..., "name": ..., "arguments": {...}}]},
     {"role": "tool", "parts": [{"type": "tool_call_response", "id": ..., "response": ...}]}]

Arguments stay as the model wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

from livespan.proto.foreign.json_text import json_text, parsed, verbatim
from livespan.proto.foreign.span import Value

__all__ = ["ToolCall", "flat_message", "issued_ids", "message_list", "tool_calls"]

Part: TypeAlias = dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call that a model asked for; `arguments` is JSON text, "" = not told."""

    call_id: str
    name: str
    arguments: str


class _Part(msgspec.Struct):
    """A part of a message, as far as a tool call needs it; its arguments are left as they were written."""

    type: object = None
    id: object = None
    name: object = None
    arguments: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    parts: list[_Part] | None = None


_read_messages = msgspec.json.Decoder(list[_Message]).decode


def message_list(value: Value, instructions: Value = None) -> str:
    """Return messages that are in the GenAI form already as JSON text, a system message of `instructions` first."""
    if not instructions:
        return json_text(value)
    system = {"role": "system", "parts": parsed(instructions)}
    told = parsed(value)
    if told is None:
        return json_text([system])
    return json_text([system, *(cast("list[object]", told) if isinstance(told, list) else [told])])


def flat_message(fields: Mapping[str, Value], default_role: str) -> dict[str, Any]:
    """Return a message that came as flattened attributes, by the names of its fields:

    role, content, contents.<j>.message_content.<field>, name, finish_reason, tool_call_id,
    tool_calls.<j>.[tool_call.](id | [function.]name | [function.]arguments)
    """
    role = str(fields.get("role") or default_role)
    content = fields.get("content")
    call_id = fields.get("tool_call_id")
    parts: list[Part] = []
    if role == "tool" or call_id:
        answered = {"type": "tool_call_response", "id": call_id, "response": content}
        parts.append({key: value for key, value in answered.items() if value is not None})
    elif content is not None and content != "":
        parts.append({"type": "text", "content": content})
    parts += [_content(item) for item in _indexed(fields, "contents.")]
    parts += [_call(item) for item in _indexed(fields, "tool_calls.")]
    message: dict[str, Any] = {"role": role, "parts": parts}
    for name in ("name", "finish_reason"):
        if fields.get(name):
            message[name] = fields[name]
    return message


def tool_calls(output: str) -> list[ToolCall]:
    """Return the tool calls in a PROMPT's output, in their order; none where it is no list of messages."""
    try:
        messages = _read_messages(output)
    except (ValueError, RecursionError):
        return []
    return [
        ToolCall(
            call_id=part.id if isinstance(part.id, str) else "",
            name=part.name if isinstance(part.name, str) else "",
            arguments=_arguments(bytes(part.arguments).decode()),
        )
        for message in messages
        for part in message.parts or ()
        if part.type == "tool_call"
    ]


def issued_ids(output: str) -> tuple[str, ...]:
    """Return the ids of the tool calls in a PROMPT's output."""
    return tuple([call.call_id for call in tool_calls(output) if call.call_id])


def _arguments(text: str) -> str:
    """Return a call's arguments as JSON text; some instrumentations put that text into a string once more."""
    return json_text(msgspec.json.decode(text)) if text.startswith('"') else text


def _indexed(fields: Mapping[str, Value], prefix: str) -> list[dict[str, Value]]:
    """Return `prefix<j>.<field>` by j."""
    found: dict[int, dict[str, Value]] = {}
    for name, value in fields.items():
        if name.startswith(prefix):
            index, _, field = name[len(prefix) :].partition(".")
            if index.isdecimal() and len(index) < 10:
                found.setdefault(int(index), {})[field] = value
    return [found[index] for index in sorted(found)]


def _content(fields: Mapping[str, Value]) -> Part:
    named = {name.removeprefix("message_content."): value for name, value in fields.items()}
    kind, text = named.pop("type", "text"), named.pop("text", None)
    return {"type": kind, **({} if text is None else {"content": text}), **named}


def _call(fields: Mapping[str, Value]) -> Part:
    named = {name.removeprefix("tool_call.").removeprefix("function."): value for name, value in fields.items()}
    part: Part = {"type": "tool_call"}
    for name in ("id", "name", "arguments"):
        value = named.get(name)
        if value is not None:
            part[name] = verbatim(value) if name == "arguments" and isinstance(value, str) else value
    return part
