"""What of a Strands model call identifies it, how its answer is recorded, and what the answer says of itself.

The input is a whitelist of what the model sees. Not in it: ids and metadata of messages, cache points, addresses and
keys of the client, the state of the invocation. An id that no answer issued (of a tool that the program called by
itself) is drawn anew in every life: it is told by its place among such ids.

An answer is recorded as the chunks that came, those of one text or of one tool's arguments joined to one; it comes from
the record in those chunks.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Mapping
from typing import Any, Final, NamedTuple, cast

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.span import Scalar

__all__ = ["FRAMEWORK", "Asked", "prompt", "structured_prompt"]

FRAMEWORK: Final = "strands"
_PARAMETERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_sequences",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "verbosity",
    "guardrail_id",
    "guardrail_version",
    "additional_request_fields",
)
_BLOCKS: Final = (
    "text",
    "image",
    "document",
    "video",
    "audio",
    "reasoningContent",
    "citationsContent",
    "guardContent",
    "searchResult",
)
_TOOL: Final = ("name", "description", "inputSchema", "outputSchema")
_PROVIDERS: Final = {"bedrock": "aws.bedrock", "gemini": "gcp.gemini", "mistral": "mistral_ai"}
"""Names of the GenAI conventions, where they are not that of the model's module."""
_TOKENS: Final = (
    (names.INPUT_TOKENS, "inputTokens"),
    (names.OUTPUT_TOKENS, "outputTokens"),
    (names.CACHE_READ_TOKENS, "cacheReadInputTokens"),
    (names.CACHE_WRITE_TOKENS, "cacheWriteInputTokens"),
)


class Asked(NamedTuple):
    """What a model is asked, as `Model.stream` takes it; `words` are its further keyword arguments."""

    messages: Any
    system: Any
    tools: Any
    words: Mapping[str, Any]


def prompt(model: Any, asked: Asked, issued: Container[str]) -> tuple[CallSite, Request]:
    """Return a model call as its site and request; its result is the list of its chunks.

    Args:
        issued: ids of tool calls that answers of this run gave.
    """
    name, about = _named(model)
    codec = Codec(_encode_chunks, decode, functools.partial(_told, about))
    return prompt_site(name, FRAMEWORK), Request(_value(model, asked, issued), codec=codec)


def structured_prompt(model: Any, output_model: Any, asked: Asked, issued: Container[str]) -> tuple[CallSite, Request]:
    """As `prompt`; the result is a list whose last event holds an instance of `output_model`."""
    name, about = _named(model)
    value = _value(model, asked, issued)
    value["response_format"] = output_model.model_json_schema()

    def encode_output(events: list[dict[str, Any]]) -> bytes:
        return encode(events[-1]["output"].model_dump(mode="json"))

    def decode_output(data: bytes) -> list[dict[str, Any]]:
        return [{"output": output_model.model_validate(decode(data))}]

    def told(events: list[dict[str, Any]]) -> Told:
        del events
        return Told(about)

    codec = Codec(encode_output, decode_output, told)
    return prompt_site(name, FRAMEWORK), Request(value, codec=codec)


def _named(model: Any) -> tuple[str, dict[str, Scalar]]:
    """Return a model's name, and what is told of it."""
    module = type(model).__module__
    provider = module.rpartition(".")[2].partition("_")[0]
    name = str(_settings(model).get("model_id") or type(model).__name__)
    about: dict[str, Scalar] = {names.MODEL: name}
    if module.startswith("strands.models."):
        about[names.PROVIDER] = _PROVIDERS.get(provider, provider)
    return name, about


def _settings(model: Any) -> dict[str, Any]:
    config: Any = model.get_config()
    return cast("dict[str, Any]", config) if isinstance(config, dict) else getattr(config, "__dict__", {})


def _value(model: Any, asked: Asked, issued: Container[str]) -> dict[str, Any]:
    settings = _settings(model)
    given: dict[str, Any] = {
        **settings,
        **(settings.get("params") or {}),
        "tool_choice": asked.words.get("tool_choice"),
    }
    seen = _Seen(issued)
    value: dict[str, Any] = {
        "messages": [seen.message(message) for message in asked.messages],
        "parameters": {word: given[word] for word in _PARAMETERS if given.get(word) is not None},
    }
    blocks = asked.words.get("system_prompt_content")
    system = [seen.block(block) for block in blocks if not _is_cache_point(block)] if blocks else asked.system
    if system:
        value["system"] = system
    if asked.tools:
        value["tools"] = [{word: tool[word] for word in _TOOL if tool.get(word) is not None} for tool in asked.tools]
    structured = asked.words.get("structured_output_model")
    if structured is not None:
        value["response_format"] = structured.model_json_schema()
    return value


class _Seen:
    """Messages as the model sees them, ids that no answer issued numbered in the order in which they come."""

    def __init__(self, issued: Container[str]) -> None:
        self._issued = issued
        self._numbers: dict[str, str] = {}

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        blocks = [self.block(block) for block in message["content"] if not _is_cache_point(block)]
        return {"role": message["role"], "content": blocks}

    def block(self, block: Mapping[str, Any]) -> dict[str, Any]:
        seen = {word: block[word] for word in _BLOCKS if word in block}
        call = block.get("toolUse")
        if call is not None:
            seen["toolUse"] = {"name": call["name"], "input": call["input"], "id": self._id(call["toolUseId"])}
        result = block.get("toolResult")
        if result is not None:
            seen["toolResult"] = {
                "id": self._id(result["toolUseId"]),
                "status": result.get("status"),
                "content": result["content"],
            }
        return seen

    def _id(self, call_id: str) -> str:
        if call_id in self._issued:
            return call_id
        return self._numbers.setdefault(call_id, f"#{len(self._numbers)}")


def _is_cache_point(block: Mapping[str, Any]) -> bool:
    return list(block) == ["cachePoint"]


def _encode_chunks(chunks: list[Any]) -> bytes:
    joined: list[Any] = []
    for chunk in chunks:
        both = _join(joined[-1], chunk) if joined and "contentBlockDelta" in chunk else None
        if both is None:
            joined.append(chunk)
        else:
            joined[-1] = both
    return encode(joined)


def _join(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """Return two deltas as one, None where they are not two parts of one text."""
    if first.keys() != second.keys():
        return None
    joined: dict[str, Any] = {}
    for word, one in first.items():
        other, both = second[word], cast("Any", None)
        if isinstance(one, dict) and isinstance(other, dict):
            both = _join(cast("dict[str, Any]", one), cast("dict[str, Any]", other))
        elif word in ("text", "input") and isinstance(one, str) and isinstance(other, str):
            both = one + other
        elif isinstance(one, int) and one == other:
            both = one
        if both is None:
            return None
        joined[word] = both
    return joined


def _told(about: Mapping[str, Scalar], chunks: list[Any]) -> Told:
    attributes = dict(about)
    issued: list[str] = []
    for chunk in cast("list[dict[str, dict[str, Any]]]", chunks):
        begun: dict[str, dict[str, str]] = chunk.get("contentBlockStart", {}).get("start") or {}
        call = begun.get("toolUse")
        if call:
            issued.append(call["toolUseId"])
        usage: dict[str, Any] = chunk.get("metadata", {}).get("usage") or {}
        attributes.update({name: usage[word] for name, word in _TOKENS if isinstance(usage.get(word), int)})
    return Told(attributes, tuple(issued))
