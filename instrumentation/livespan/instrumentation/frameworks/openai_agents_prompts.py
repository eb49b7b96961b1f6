"""What of a model call of the OpenAI Agents SDK identifies it, and what its answer says of itself.

The input is a whitelist of what the model sees. Not in it: ids of items and what the SDK stamps on them
(`provider_data`), headers, metadata, timeouts and retries, and whether the answer is streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from pydantic_core import to_jsonable_python

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.proto import attributes as names
from livespan.proto.span import Scalar

__all__ = ["FRAMEWORK", "asked_of", "site_of", "told_by"]

FRAMEWORK: Final = "openai_agents"
_ITEM: Final = (
    "type",
    "role",
    "content",
    "name",
    "namespace",
    "arguments",
    "input",
    "call_id",
    "output",
    "summary",
    "encrypted_content",
    "action",
    "operation",
    "queries",
    "results",
    "code",
    "outputs",
    "result",
    "tools",
    "server_label",
    "approval_request_id",
    "approve",
    "reason",
    "error",
)
_PART: Final = (
    "type",
    "text",
    "refusal",
    "image_url",
    "detail",
    "file_id",
    "file_data",
    "file_url",
    "filename",
    "input_audio",
)
_SETTINGS: Final = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "tool_choice",
    "parallel_tool_calls",
    "truncation",
    "max_tokens",
    "reasoning",
    "verbosity",
    "response_include",
    "top_logprobs",
)
_EXTRA: Final = ("seed", "stop", "top_k", "n", "logit_bias", "reasoning_effort", "thinking", "response_format")
_TOOL: Final = (
    "name",
    "description",
    "params_json_schema",
    "strict_json_schema",
    "tool_config",
    "vector_store_ids",
    "max_num_results",
    "filters",
    "user_location",
    "search_context_size",
    "format",
)
_SECRET: Final = ("authorization", "headers")


def site_of(model: Any) -> CallSite:
    """Return the call site of a model."""
    return prompt_site(_name_of(model), FRAMEWORK)


def asked_of(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model sees of a call.

    Args:
        given: arguments of `get_response`, by name.
    """
    settings = given["model_settings"]
    parameters = {word: _plain(one) for word in _SETTINGS if (one := getattr(settings, word, None)) is not None}
    for extra in (getattr(settings, "extra_args", None), getattr(settings, "extra_body", None)):
        if isinstance(extra, Mapping):
            parameters |= _chosen(cast("Mapping[str, Any]", extra), _EXTRA)
    schema = given["output_schema"]
    if schema is not None and not schema.is_plain_text():
        parameters["response_format"] = {
            "name": schema.name(),
            "schema": schema.json_schema(),
            "strict": schema.is_strict_json_schema(),
        }
    asked = {
        "model": _name_of(model),
        "instructions": given["system_instructions"],
        "input": _input(given["input"]),
        "parameters": parameters,
        "tools": [_tool(tool) for tool in given["tools"]],
        "handoffs": [_handoff(handoff) for handoff in given["handoffs"]],
        "previous_response_id": given.get("previous_response_id"),
        "conversation_id": given.get("conversation_id"),
        "prompt": _plain(given.get("prompt")),
    }
    return {word: value for word, value in asked.items() if value}


def told_by(model: Any, output: Iterable[Any], usage: Any) -> Told:
    """Return what an answer says of itself.

    Args:
        output: its items.
        usage: the SDK's own, or the API's; both name tokens alike.
    """
    attributes: dict[str, Scalar] = {names.MODEL: _name_of(model)}
    provider = _provider_of(model)
    if provider:
        attributes[names.PROVIDER] = provider
    for name, place in (
        (names.INPUT_TOKENS, ("input_tokens",)),
        (names.OUTPUT_TOKENS, ("output_tokens",)),
        (names.CACHE_READ_TOKENS, ("input_tokens_details", "cached_tokens")),
        (names.REASONING_TOKENS, ("output_tokens_details", "reasoning_tokens")),
    ):
        count: Any = usage
        for word in place:
            count = getattr(count, word, None)
        if isinstance(count, int):
            attributes[name] = count
    issued = [call_id for item in output if (call_id := _call_id(item))]
    return Told(attributes, tuple(issued))


def _name_of(model: Any) -> str:
    name = getattr(model, "model", None)
    return name if isinstance(name, str) and name else type(model).__name__


def _provider_of(model: Any) -> str:
    """Return whose API it is: all of the SDK's own models speak OpenAI's, one of somebody else's says nothing."""
    return "openai" if type(model).__module__.startswith("agents.models.openai") else ""


def _call_id(item: Any) -> str:
    kind, call_id = _of(item, "type"), _of(item, "call_id")
    return call_id if isinstance(kind, str) and kind.endswith("_call") and isinstance(call_id, str) else ""


def _of(item: Any, word: str) -> Any:
    return cast("Mapping[str, Any]", item).get(word) if isinstance(item, Mapping) else getattr(item, word, None)


def _input(given: Any) -> Any:
    return given if isinstance(given, str) else [_item(_plain(item)) for item in given]


def _item(item: Any) -> Any:
    seen = _chosen(cast("dict[str, Any]", item), _ITEM)
    for word in ("content", "output", "summary"):
        parts = seen.get(word)
        if isinstance(parts, list):
            seen[word] = [
                _chosen(cast("dict[str, Any]", part), _PART) if isinstance(part, dict) else part
                for part in cast("list[object]", parts)
            ]
    return seen


def _tool(tool: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {"type": type(tool).__name__}
    for word in _TOOL:
        value = getattr(tool, word, None)
        if value is not None:
            plain = _plain(value)
            if isinstance(plain, dict):
                plain = {key: one for key, one in cast("dict[str, Any]", plain).items() if key not in _SECRET}
            seen[word] = plain
    return seen


def _handoff(handoff: Any) -> dict[str, Any]:
    return {
        "name": handoff.tool_name,
        "description": handoff.tool_description,
        "schema": _plain(handoff.input_json_schema),
    }


def _chosen(given: Mapping[str, Any], whitelist: Iterable[str]) -> dict[str, Any]:
    return {word: given[word] for word in whitelist if given.get(word) is not None}


def _plain(value: Any) -> Any:
    """Return a value of the SDK's or the API's as JSON, without what was not set."""
    return to_jsonable_python(value, exclude_none=True, fallback=_name_alone)


def _name_alone(value: object) -> str:
    """Return what stands for an object that is no data: never its address."""
    return type(value).__qualname__
