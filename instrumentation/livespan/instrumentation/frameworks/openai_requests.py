"""What of an OpenAI request the model sees, and what an answer says of itself: chat completions, responses, embeddings.

Whitelists, all of them: a blacklist breaks with the next field that a client stamps. Not in them: ids of messages,
users and caches, metadata, `store`, and how an answer travels. An id of a tool call is in: an answer gave it, so it is
the same in every life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from livespan.instrumentation.call_site import Told
from livespan.instrumentation.frameworks.client_calls import Endpoint
from livespan.proto import attributes as names
from livespan.proto.node import NodeType
from livespan.proto.span import Scalar

__all__ = ["ENDPOINTS", "each", "only", "tokens"]

_MESSAGE: Final = (
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "audio",
    "reasoning_content",
)
_ITEM: Final = (
    "type",
    "role",
    "content",
    "phase",
    "name",
    "namespace",
    "arguments",
    "call_id",
    "input",
    "output",
    "action",
    "actions",
    "operation",
    "queries",
    "results",
    "code",
    "outputs",
    "result",
    "summary",
    "encrypted_content",
    "server_label",
    "tools",
    "error",
    "approve",
    "approval_request_id",
    "reason",
)
"""Of an item of a response's input, which may be an item of an earlier response's output."""
_ITEM_REFERENCE: Final = ("type", "id")
_PARAMETERS: Final = (
    "model",
    "models",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tool_calls",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "stop",
    "tool_choice",
    "parallel_tool_calls",
    "function_call",
    "response_format",
    "text",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "chat_template_kwargs",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "previous_response_id",
    "conversation",
    "prompt",
    "truncation",
    "context_management",
    "include",
    "background",
    "dimensions",
    "encoding_format",
)
"""Also some that servers of the same interface take."""
_CHAT_TOKENS: Final = (
    (names.INPUT_TOKENS, ("prompt_tokens",)),
    (names.OUTPUT_TOKENS, ("completion_tokens",)),
    (names.CACHE_READ_TOKENS, ("prompt_tokens_details", "cached_tokens")),
    (names.REASONING_TOKENS, ("completion_tokens_details", "reasoning_tokens")),
)
_RESPONSE_TOKENS: Final = (
    (names.INPUT_TOKENS, ("input_tokens",)),
    (names.OUTPUT_TOKENS, ("output_tokens",)),
    (names.CACHE_READ_TOKENS, ("input_tokens_details", "cached_tokens")),
    (names.REASONING_TOKENS, ("output_tokens_details", "reasoning_tokens")),
)
_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


def only(words: Iterable[str], held: Any) -> Any:
    """Return those parts of an object that have one of these names and say something; what is none, as it is."""
    if not isinstance(held, Mapping):
        return held
    parts = cast("Mapping[str, Any]", held)
    return {word: parts[word] for word in words if parts.get(word) is not None}


def each(holder: Mapping[str, Any], word: str) -> list[dict[str, Any]]:
    """Return a list that stands in an object; an empty one where none does."""
    return cast("list[dict[str, Any]]", holder.get(word) or [])


def tokens(places: Iterable[tuple[str, tuple[str, ...]]], usage: Any) -> dict[str, Scalar]:
    """Return the counts that stand at these places of a `usage`."""
    found: dict[str, Scalar] = {}
    for name, place in places:
        count = usage
        for word in place:
            count = cast("dict[str, Any]", count).get(word) if isinstance(count, dict) else None
        if isinstance(count, int):
            found[name] = count
    return found


# Chat completions.


def _chat_seen(body: Mapping[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "messages": [only(_MESSAGE, message) for message in each(body, "messages")],
        "parameters": only(_PARAMETERS, body),
    }
    tools = body.get("tools") or body.get("functions")
    if tools:
        value["tools"] = tools
    return value


def _chat_told(answer: Mapping[str, Any]) -> Told:
    messages = [cast("dict[str, Any]", choice.get("message") or {}) for choice in each(answer, "choices")]
    issued = [str(call["id"]) for message in messages for call in each(message, "tool_calls") if call.get("id")]
    return Told(tokens(_CHAT_TOKENS, answer.get("usage")), tuple(issued))


def _chat_gathered(parts: list[Any]) -> Mapping[str, Any]:
    # A call's id stands in the first of its parts alone.
    choices = [{"message": choice.get("delta")} for part in parts for choice in each(part, "choices")]
    return {"choices": choices, "usage": next((part["usage"] for part in reversed(parts) if part.get("usage")), None)}


def _chat_is_end(part: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in each(part, "choices"))


# Responses.


def _response_seen(body: Mapping[str, Any]) -> dict[str, Any]:
    asked = body.get("input")
    value: dict[str, Any] = {
        "input": [_item(item) for item in each(body, "input")] if isinstance(asked, list) else asked,
        "parameters": only(_PARAMETERS, body),
        **only(("instructions",), body),
    }
    if body.get("tools"):
        value["tools"] = body["tools"]
    return value


def _item(item: Mapping[str, Any]) -> Any:
    # A reference is nothing but an id.
    is_reference = item.get("type", "item_reference") == "item_reference" and "role" not in item
    return only(_ITEM_REFERENCE if is_reference else _ITEM, item)


def _response_told(answer: Mapping[str, Any]) -> Told:
    issued = [str(item["call_id"]) for item in each(answer, "output") if item.get("call_id")]
    return Told(tokens(_RESPONSE_TOKENS, answer.get("usage")), tuple(issued))


def _response_gathered(parts: list[Any]) -> Mapping[str, Any]:
    return next((part["response"] for part in reversed(parts) if part.get("response")), dict[str, Any]())


def _response_is_end(part: Mapping[str, Any]) -> bool:
    return part.get("type") in _RESPONSE_ENDS


# Embeddings.


def _embedding_seen(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"input": body.get("input"), "parameters": only(_PARAMETERS, body)}


def _embedding_told(answer: Mapping[str, Any]) -> Told:
    return Told(tokens(_CHAT_TOKENS, answer.get("usage")))


def _never_streamed(parts: list[Any]) -> Mapping[str, Any]:
    del parts
    return {}


def _has_no_end(part: Mapping[str, Any]) -> bool:
    del part
    return False


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/chat/completions": Endpoint(NodeType.PROMPT, _chat_seen, _chat_told, _chat_gathered, _chat_is_end),
    "/responses": Endpoint(NodeType.PROMPT, _response_seen, _response_told, _response_gathered, _response_is_end),
    "/embeddings": Endpoint(NodeType.MEMORY, _embedding_seen, _embedding_told, _never_streamed, _has_no_end),
}
