"""What of an Anthropic request the model sees, and what an answer says of itself: messages, beta or not.

Whitelists, as in openai_requests.py. Blocks of content are taken as they are: the program wrote them, or an answer did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from livespan.instrumentation.call_site import Told
from livespan.instrumentation.frameworks.client_calls import Endpoint
from livespan.instrumentation.frameworks.openai_requests import each, only, tokens
from livespan.proto import attributes as names
from livespan.proto.node import NodeType

__all__ = ["ENDPOINTS"]

_MESSAGE: Final = ("role", "content")
_PARAMETERS: Final = (
    "model",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "stop_sequences",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "container",
    "context_management",
    "mcp_servers",
)
_TOKENS: Final = (
    (names.INPUT_TOKENS, ("input_tokens",)),
    (names.OUTPUT_TOKENS, ("output_tokens",)),
    (names.CACHE_READ_TOKENS, ("cache_read_input_tokens",)),
    (names.CACHE_WRITE_TOKENS, ("cache_creation_input_tokens",)),
)


def _seen(body: Mapping[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "messages": [only(_MESSAGE, message) for message in each(body, "messages")],
        "parameters": only(_PARAMETERS, body),
        **only(("system",), body),
    }
    if body.get("tools"):
        value["tools"] = body["tools"]
    return value


def _told(answer: Mapping[str, Any]) -> Told:
    issued = [str(block["id"]) for block in each(answer, "content") if block.get("type") == "tool_use"]
    return Told(tokens(_TOKENS, answer.get("usage")), tuple(issued))


def _gathered(parts: list[Any]) -> Mapping[str, Any]:
    usage: dict[str, Any] = {}
    blocks: list[Any] = []
    for part in parts:
        # What a later event counts, it counts of the whole answer.
        counted: dict[str, Any] = (part.get("message") or part).get("usage") or {}
        usage.update({word: count for word, count in counted.items() if count is not None})
        if part.get("content_block"):
            blocks.append(part["content_block"])
    return {"content": blocks, "usage": usage}


def _is_end(part: Mapping[str, Any]) -> bool:
    delta: dict[str, Any] = part.get("delta") or {}
    return bool(delta.get("stop_reason"))


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/v1/messages": Endpoint(NodeType.PROMPT, _seen, _told, _gathered, _is_end),
}
