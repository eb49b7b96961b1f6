"""What of a Pydantic AI model call identifies it, and what its answer says of itself.

The input is a whitelist of what the model sees. Not in it: times, ids of runs, conversations and answers, token counts,
what the provider told about a part, the id of a retry that answers no call, headers, timeouts, and whether the answer
is streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from pydantic_ai.messages import BaseToolCallPart, ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_core import to_jsonable_python

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.proto import attributes as names
from livespan.proto.span import Scalar

__all__ = ["FRAMEWORK", "asked_of", "site_of", "told_by"]

FRAMEWORK: Final = "pydantic_ai"
_PART: Final = ("part_kind", "content", "tool_name", "args", "tool_call_id", "outcome", "signature")
_CONTENT: Final = ("kind", "url", "media_type", "data", "content", "file_id")
_SETTINGS: Final = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "tool_choice",
    "parallel_tool_calls",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop_sequences",
    "thinking",
    "extra_body",
    "openai_reasoning_effort",
    "openai_text_verbosity",
    "anthropic_thinking",
    "anthropic_effort",
    "google_thinking_config",
)
_TOOL: Final = ("name", "description", "parameters_json_schema", "strict")
_NATIVE_TOOL: Final = ("kind", "url", "allowed_tools", "allowed_domains", "blocked_domains", "max_uses")
_OUTPUT: Final = ("name", "description", "json_schema", "strict")


def site_of(model: Model[Any]) -> CallSite:
    """Return the call site of a model."""
    return prompt_site(model.model_name, FRAMEWORK)


def asked_of(
    model: Model[Any],
    messages: Iterable[ModelMessage],
    settings: ModelSettings | None,
    parameters: ModelRequestParameters,
) -> dict[str, Any]:
    """Return what the model sees of a call; the arguments are those of `request`."""
    set_here = cast("Mapping[str, Any]", {**(model.settings or {}), **(settings or {})})
    asked: dict[str, Any] = {
        "model": model.model_name,
        "messages": [_message(message) for message in messages],
        "parameters": _chosen(set_here, _SETTINGS),
        "tools": [_of(tool, _TOOL) for tool in parameters.function_tools],
        "native_tools": [_of(tool, _NATIVE_TOOL) for tool in parameters.native_tools],
        "output_tools": [_of(tool, _TOOL) for tool in parameters.output_tools],
        "output_mode": parameters.output_mode,
        "output": _of(parameters.output_object, _OUTPUT) if parameters.output_object is not None else None,
    }
    return {word: value for word, value in asked.items() if value}


def told_by(response: ModelResponse) -> Told:
    """Return what an answer says of itself."""
    told: dict[str, Scalar | None] = {
        names.MODEL: response.model_name,
        names.PROVIDER: response.provider_name,
        names.INPUT_TOKENS: response.usage.input_tokens,
        names.OUTPUT_TOKENS: response.usage.output_tokens,
        names.CACHE_READ_TOKENS: response.usage.cache_read_tokens,
        names.CACHE_WRITE_TOKENS: response.usage.cache_write_tokens,
        names.REASONING_TOKENS: response.usage.details.get("reasoning_tokens"),
    }
    attributes = {name: value for name, value in told.items() if value is not None}
    return Told(attributes, tuple(part.tool_call_id for part in response.parts if isinstance(part, BaseToolCallPart)))


def _message(message: ModelMessage) -> dict[str, Any]:
    seen: dict[str, Any] = {"role": message.kind, "parts": [_part(part) for part in message.parts]}
    instructions = getattr(message, "instructions", None)
    if instructions:
        seen["instructions"] = instructions
    return seen


def _part(part: Any) -> dict[str, Any]:
    seen = _of(part, _PART)
    if "tool_name" not in seen:
        # A retry that answers no call is given a random one all the same.
        seen.pop("tool_call_id", None)
    content = seen.get("content")
    if isinstance(content, list):
        seen["content"] = [
            _chosen(cast("dict[str, Any]", one), _CONTENT) if isinstance(one, dict) and "kind" in one else one
            for one in cast("list[object]", content)
        ]
    elif isinstance(content, dict) and "kind" in content:
        seen["content"] = _chosen(cast("dict[str, Any]", content), _CONTENT)
    return seen


def _of(value: Any, whitelist: Iterable[str]) -> dict[str, Any]:
    """Return some attributes of an object, as JSON, without those that it lacks or leaves open."""
    return _chosen({word: getattr(value, word, None) for word in whitelist}, whitelist)


def _chosen(given: Mapping[str, Any], whitelist: Iterable[str]) -> dict[str, Any]:
    return {word: _plain(given[word]) for word in whitelist if given.get(word) is not None}


def _plain(value: Any) -> Any:
    return to_jsonable_python(value, bytes_mode="base64", fallback=_name_alone)


def _name_alone(value: object) -> str:
    """Return what stands for an object that is no data: never its address."""
    return type(value).__qualname__
