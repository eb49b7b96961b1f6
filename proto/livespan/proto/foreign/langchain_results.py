"""The ToolMessage that two conventions put into a tool span's output as LangChain serialises it: in it stand the
answer and the id of the call, which the span has nowhere else.

    {"type": "tool", "data": {"content": ..., "tool_call_id": ...}}                          OpenInference
    {"output": {"lc": 1, "kwargs": {"content": ..., "tool_call_id": ..., "type": "tool"}}}   OpenLLMetry
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from livespan.proto.foreign.json_text import json_text, parsed

__all__ = ["ToolAnswer", "tool_answer"]


class ToolAnswer(msgspec.Struct, frozen=True):
    """What a tool answered, as JSON text, and the id of the call that it answered."""

    output: str
    call_id: str


def tool_answer(output: str) -> ToolAnswer | None:
    """Return what a ToolMessage in a span's output says, None where there is none."""
    if "tool_call_id" not in output:
        return None
    held = _object(parsed(output))
    held = _object(held.get("output")) or held
    for place in ("data", "kwargs"):
        message = _object(held.get(place))
        call_id = message.get("tool_call_id")
        if isinstance(call_id, str) and "content" in message:
            return ToolAnswer(json_text(message["content"]), call_id)
    return None


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
