"""Model calls of smolagents: what stands in for `generate` and `generate_stream` of every model, and what of a call
identifies it.

The input is a whitelist of what the model sees: roles, contents, tool calls, tools, and settings. Not in it: token
counts, what the client returned beside the message (`raw`), addresses and keys.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from importlib import import_module
from typing import Any, Final, TypeAlias, cast
from uuid import NAMESPACE_OID, uuid5

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.calling import is_recorded_around, prompt_site
from livespan.instrumentation.frameworks.smolagents_agents import FRAMEWORK, calling_scope
from livespan.instrumentation.frameworks.streams import StreamedCall, recorded_parts
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.errors import Unrecordable
from livespan.proto.node import NodeType
from livespan.proto.span import Scalar

__all__ = ["naming_tool_call", "recording_generate", "recording_generate_stream"]

_Function: TypeAlias = Callable[..., Any]

_PLACES: Final = ("stop_sequences", "response_format", "tools_to_call_from")
"""What may follow the messages by place."""
_PARAMETERS: Final = (
    "do_sample",
    "frequency_penalty",
    "logit_bias",
    "max_completion_tokens",
    "max_new_tokens",
    "max_tokens",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "seed",
    "stop",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "top_k",
    "top_p",
    "verbosity",
)
_PROVIDERS: Final = {
    "AmazonBedrockModel": "aws.bedrock",
    "AzureOpenAIModel": "azure.ai.openai",
    "InferenceClientModel": "huggingface",
    "OpenAIModel": "openai",
}


def recording_generate(original: _Function) -> _Function:
    """Return `generate`, recorded."""

    @functools.wraps(original)
    def generate(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return original(self, messages, *args, **kwargs)
        site, request = _prompt(self, messages, dict(zip(_PLACES, args, strict=False)) | kwargs, streamed=False)
        return session.call(scope, site, request, lambda: original(self, messages, *args, **kwargs))

    return generate


def recording_generate_stream(original: _Function) -> _Function:
    """Return `generate_stream`, recorded; from the record the same deltas come again."""

    @functools.wraps(original)
    def generate_stream(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return original(self, messages, *args, **kwargs)  # type: ignore[no-any-return]  # the original's own
        site, request = _prompt(self, messages, dict(zip(_PLACES, args, strict=False)) | kwargs, streamed=True)
        call = StreamedCall(session, scope, site, request)
        return recorded_parts(call, lambda: original(self, messages, *args, **kwargs))

    return generate_stream


def naming_tool_call(original: _Function) -> _Function:
    """Return `get_tool_call_from_text`, whose id is the same in every life.

    The original draws one where a model has written its tool call as text, and the next prompt shows it to the model.
    """

    @functools.wraps(original)
    def get_tool_call_from_text(text: str, *args: Any, **kwargs: Any) -> Any:
        call = original(text, *args, **kwargs)
        call.id = str(uuid5(NAMESPACE_OID, text))
        return call

    return get_tool_call_from_text


def _prompt(model: Any, messages: Any, given: Mapping[str, Any], *, streamed: bool) -> tuple[CallSite, Request]:
    """Return a model call as its site and request; its result is a ChatMessage, or the list of all deltas."""
    kind = cast("type[object]", type(model))
    name = str(getattr(model, "model_id", None) or kind.__name__)
    settings: dict[str, Any] = {**given, **(getattr(model, "kwargs", None) or {})}
    value: dict[str, Any] = {
        "model": {"type": kind.__name__, "name": name},
        "messages": [_seen(message) for message in messages],
        "parameters": {word: settings[word] for word in _PARAMETERS if _is_plain(settings.get(word))},
    }
    tools = given.get("tools_to_call_from")
    if tools:
        value["tools"] = [_schema(tool) for tool in tools]
    about: dict[str, Scalar] = {names.MODEL: name}
    provider = next((_PROVIDERS[base.__name__] for base in kind.__mro__ if base.__name__ in _PROVIDERS), None)
    if provider:
        about[names.PROVIDER] = provider
    if streamed:
        codec = Codec(encode, decode, functools.partial(_told_by_deltas, about))
    else:
        codec = Codec(_encode_message, decode, functools.partial(_told, about))
    return prompt_site(name, FRAMEWORK), Request(value, codec=codec)


def _seen(message: Any) -> dict[str, Any]:
    """Return what the model sees of a message, which may be a plain dict."""
    held = cast("dict[str, Any]", message if isinstance(message, dict) else vars(message))
    role, content, calls = held.get("role"), held.get("content"), cast("list[Any] | None", held.get("tool_calls"))
    if isinstance(content, list):
        content = [_seen_part(part) for part in cast("list[dict[str, Any]]", content)]
    seen: dict[str, Any] = {"role": role.value if isinstance(role, Enum) else role, "content": content}
    if calls:
        seen["tool_calls"] = [_seen_call(call) for call in calls]
    return seen


def _seen_part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image":
        return part
    encoded: _Function = import_module("smolagents.utils").encode_image_base64
    return {"type": "image", "image": encoded(part["image"])}


def _seen_call(call: Any) -> dict[str, Any]:
    if isinstance(call, dict):
        return {"name": call["function"]["name"], "args": call["function"]["arguments"], "id": call["id"]}
    return {"name": call.function.name, "args": call.function.arguments, "id": call.id}


def _schema(tool: Any) -> Any:
    if isinstance(getattr(tool, "inputs", None), dict):
        return import_module("smolagents.models").get_tool_json_schema(tool)
    return {"name": getattr(tool, "name", type(tool).__qualname__)}


def _is_plain(value: Any) -> bool:
    """Return whether a setting is one; the mark of a parameter that is to be left out is not."""
    return isinstance(value, (str, int, float, bool, list, tuple, dict))


def _encode_message(message: Any) -> bytes:
    try:
        return encode(message)
    except Unrecordable:
        # Beside the message, which is the answer, a model may hand out objects of its client.
        return encode(dataclasses.replace(message, raw=None))


def _told(about: Mapping[str, Scalar], message: Any) -> Told:
    attributes = dict(about)
    usage = getattr(message, "token_usage", None)
    if usage is not None:
        attributes[names.INPUT_TOKENS] = usage.input_tokens
        attributes[names.OUTPUT_TOKENS] = usage.output_tokens
    return Told(attributes, tuple(call.id for call in message.tool_calls or () if call.id))


def _told_by_deltas(about: Mapping[str, Scalar], deltas: list[Any]) -> Told:
    return _told(about, import_module("smolagents.models").agglomerate_stream_deltas(deltas))
