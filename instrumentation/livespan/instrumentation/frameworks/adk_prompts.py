"""What of an ADK model call identifies it, how its answer is recorded, and what the answer says of itself.

The input is a whitelist of what the model sees. Not in it: labels, headers and addresses, caches, signatures of
thoughts, and ids that no answer of the model's issued: ADK draws those (`adk-...`) anew in every life, and they are
told by their place.

What other agents said comes to an agent as contents of their own, in the order in which it was said, which is a matter
of time where they ran in parallel. So a row of such contents is told apart by what is in it, and not by its order.

An answer is recorded as the responses that came, and comes from the record as those.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Container, Mapping
from importlib import import_module
from itertools import groupby
from typing import Any, Final, NamedTuple, cast

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.span import Scalar

__all__ = ["FRAMEWORK", "Part", "prompt"]

FRAMEWORK: Final = "google_adk"
_FOREIGN: Final = "For context:"
"""How ADK begins a content that holds what another agent said."""
_Response: Any = import_module("google.adk.models.llm_response").LlmResponse
_types: Any = import_module("google.genai.types")
_contents: Final[dict[str, Any]] = {kind.__name__: kind for kind in (_types.ModelContent, _types.UserContent)}
_KIND: Final = "content_class"
"""Beside a response: which of these its content was. Some of ADK's own make one."""
_PARAMETERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "candidate_count",
    "max_output_tokens",
    "stop_sequences",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "response_mime_type",
    "response_schema",
    "response_json_schema",
    "response_modalities",
    "tool_config",
    "thinking_config",
)
_BLOCKS: Final = ("text", "thought", "inline_data", "file_data", "executable_code", "code_execution_result")
_TOOL: Final = ("name", "description", "parameters", "parameters_json_schema", "response", "response_json_schema")
_TOKENS: Final = (
    (names.INPUT_TOKENS, "prompt_token_count"),
    (names.OUTPUT_TOKENS, "candidates_token_count"),
    (names.CACHE_READ_TOKENS, "cached_content_token_count"),
    (names.REASONING_TOKENS, "thoughts_token_count"),
)
_PROVIDERS: Final = {"Gemini": "gcp.gemini", "Claude": "anthropic", "AnthropicLlm": "anthropic"}
"""Names of the GenAI conventions, by model class."""


class Part(NamedTuple):
    """One response of a model, and the same as it was when it came."""

    response: Any
    data: dict[str, Any]

    @classmethod
    def of(cls, response: Any) -> Part:
        """Return a response that has just come."""
        data: dict[str, Any] = response.model_dump(mode="json", exclude_none=True)
        kind = type(response.content).__name__
        if kind in _contents:
            data[_KIND] = kind
        return cls(response, data)


def prompt(model: Any, asked: Any, issued: Container[str]) -> tuple[CallSite, Request]:
    """Return a model call as its site and request; its result is a list of `Part`.

    Args:
        asked: an LlmRequest.
        issued: ids of function calls that answers of this run gave.
    """
    name = str(asked.model or model.model)
    about: dict[str, Scalar] = {names.MODEL: name}
    provider = next((_PROVIDERS[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in _PROVIDERS), "")
    if provider:
        about[names.PROVIDER] = provider
    seen = _Seen(issued)
    config: dict[str, Any] = asked.config.model_dump(mode="json", exclude_none=True, include={*_PARAMETERS})
    value: dict[str, Any] = {
        "contents": [seen.content(content) for content in asked.contents],
        "parameters": {word: config[word] for word in _PARAMETERS if word in config},
    }
    if asked.config.system_instruction:
        value["system"] = _plain(asked.config.system_instruction)
    tools = [one for tool in asked.config.tools or () for one in _offered(tool)]
    if tools:
        value["tools"] = tools
    codec = Codec(_encode_parts, _decode_parts, functools.partial(_told, about))
    told_apart_by = {**value, "contents": _rows_sorted(value["contents"])}
    return prompt_site(name, FRAMEWORK), Request(value, told_apart_by, codec=codec)


def _rows_sorted(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return contents with each row of what other agents said in an order that does not depend on time."""
    rows = ((foreign, list(row)) for foreign, row in groupby(contents, _is_foreign))
    return [one for foreign, row in rows for one in (sorted(row, key=encode) if foreign else row)]


def _is_foreign(content: dict[str, Any]) -> bool:
    parts = content["parts"]
    return bool(parts) and str(parts[0].get("text", "")).startswith(_FOREIGN)


def _plain(value: Any) -> Any:
    """Return what a config holds as JSON: a text, an object of google-genai's, or a list of those."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]  # of whatever the user gave
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json", exclude_none=True)


def _offered(tool: Any) -> list[Any]:
    """Return the functions of a tool as the model sees them; one that the server runs as it is."""
    declared = getattr(tool, "function_declarations", None)
    if not declared:
        return [_plain(tool)]
    return [one.model_dump(mode="json", exclude_none=True, include={*_TOOL}) for one in declared]


class _Seen:
    """Contents as the model sees them, ids that no answer issued numbered in the order in which they come."""

    def __init__(self, issued: Container[str]) -> None:
        self._issued = issued
        self._numbers: dict[str, str] = {}

    def content(self, content: Any) -> dict[str, Any]:
        return {"role": content.role, "parts": [self._part(part) for part in content.parts or ()]}

    def _part(self, part: Any) -> dict[str, Any]:
        seen: dict[str, Any] = part.model_dump(mode="json", exclude_none=True, include={*_BLOCKS})
        call, response = part.function_call, part.function_response
        if call is not None:
            seen["call"] = {"name": call.name, "args": call.args, "id": self._id(call.id)}
        if response is not None:
            seen["response"] = {"name": response.name, "response": response.response, "id": self._id(response.id)}
        return seen

    def _id(self, call_id: str | None) -> str:
        if not call_id or call_id in self._issued:
            return call_id or ""
        return self._numbers.setdefault(call_id, f"#{len(self._numbers)}")


def _encode_parts(parts: list[Part]) -> bytes:
    return encode([part.data for part in parts])


def _decode_parts(data: bytes) -> list[Part]:
    return [Part(_response(one), one) for one in cast("list[dict[str, Any]]", decode(data))]


def _response(data: dict[str, Any]) -> Any:
    kind = data.get(_KIND)
    response = _Response.model_validate_json(json.dumps({word: one for word, one in data.items() if word != _KIND}))
    if kind is not None:
        response.content = _contents[kind](response.content.parts)
    return response


def _told(about: Mapping[str, Scalar], parts: list[Part]) -> Told:
    attributes = dict(about)
    issued: dict[str, None] = {}
    for part in parts:
        usage: dict[str, Any] = part.data.get("usage_metadata") or {}
        attributes.update({name: usage[word] for name, word in _TOKENS if isinstance(usage.get(word), int)})
        content: dict[str, list[dict[str, dict[str, Any]]]] = part.data.get("content") or {}
        for one in content.get("parts") or ():
            call_id = one.get("function_call", {}).get("id")
            if call_id:
                issued[call_id] = None
    return Told(attributes, tuple(issued))
