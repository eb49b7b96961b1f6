"""What of a crewAI model call identifies it, how its answer is recorded, and what the answer says of itself.

The input is a whitelist of what the model sees: roles, contents, tool calls, tools, and settings. Not in it: the agent
and the task that ask, callbacks, addresses and keys. Where a provider gives a tool call no id, crewAI makes one of a
memory address, which is another one in every life: such ids are numbered in the order in which they appear.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, cast

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.instrumentation.frameworks.crewai_scopes import FRAMEWORK
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.span import Scalar

__all__ = ["Reply", "prompt"]

_PLACES: Final = ("tools", "callbacks", "available_functions", "from_task", "from_agent", "response_model")
"""What may follow the messages by place."""
_PARAMETERS: Final = (
    "api",
    "frequency_penalty",
    "instructions",
    "logit_bias",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop_sequences",
    "temperature",
    "thinking",
    "tool_choice",
    "top_k",
    "top_p",
    "verbosity",
)
_TOKENS: Final = (
    (names.INPUT_TOKENS, "prompt_tokens"),
    (names.OUTPUT_TOKENS, "completion_tokens"),
    (names.CACHE_READ_TOKENS, "cached_prompt_tokens"),
    (names.CACHE_WRITE_TOKENS, "cache_creation_tokens"),
    (names.REASONING_TOKENS, "reasoning_tokens"),
)
_ADDRESS: Final = re.compile(r"call_\d{6,}")
"""An id that crewAI has made of `id(...)`."""


class Reply(NamedTuple):
    """What a model returned (a text, a model of a structured answer, or a list of tool calls), and what it cost."""

    answer: Any
    tokens: dict[str, int]


def prompt(model: Any, messages: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[CallSite, Request]:
    """Return a model call as its site and request; its result is a Reply."""
    given = dict(zip(_PLACES, args, strict=False)) | dict(kwargs)
    name = str(model.model)
    value: dict[str, Any] = {"model": name, "messages": _seen(messages), "parameters": _parameters(model)}
    if given.get("tools"):
        value["tools"] = [_schema(tool) for tool in given["tools"]]
    if given.get("response_model") is not None:
        value["response_model"] = _plain(given["response_model"])
    about: dict[str, Scalar] = {names.MODEL: name, names.PROVIDER: str(model.provider)}
    return prompt_site(name, FRAMEWORK), Request(value, codec=Codec(_encode, _decode, functools.partial(_told, about)))


def _seen(messages: Any) -> list[dict[str, Any]]:
    """Return what the model sees of the messages."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    numbers: dict[str, str] = {}
    return [_seen_message(message, numbers) for message in cast("list[dict[str, Any]]", messages)]


def _seen_message(message: Mapping[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    seen: dict[str, Any] = {"role": message.get("role"), "content": message.get("content")}
    calls = cast("list[dict[str, Any]] | None", message.get("tool_calls"))
    if calls:
        seen["tool_calls"] = [
            {
                "name": call["function"]["name"],
                "args": call["function"]["arguments"],
                "id": _numbered(call.get("id"), numbers),
            }
            for call in calls
        ]
    if message.get("tool_call_id"):
        seen["tool_call_id"] = _numbered(message["tool_call_id"], numbers)
    if message.get("name"):
        seen["name"] = message["name"]
    if message.get("files"):
        seen["files"] = sorted(str(file) for file in message["files"])
    return seen


def _numbered(call_id: Any, numbers: dict[str, str]) -> Any:
    if isinstance(call_id, str) and _ADDRESS.fullmatch(call_id):
        return numbers.setdefault(call_id, f"call@{len(numbers)}")
    return call_id


def _parameters(model: Any) -> dict[str, Any]:
    further: Mapping[str, Any] = getattr(model, "additional_params", None) or {}
    found = {word: further[word] if word in further else getattr(model, word, None) for word in _PARAMETERS}
    return {word: _plain(value) for word, value in found.items() if value is not None and value != []}


def _schema(tool: Any) -> Any:
    """Return what the model sees of a tool, of whichever provider's form."""
    if not isinstance(tool, dict):
        return {"name": str(getattr(tool, "name", type(tool).__qualname__))}
    held = cast("dict[str, Any]", tool)
    inner = cast("dict[str, Any]", held.get("function") or held)
    return {word: inner[word] for word in ("name", "description", "parameters", "input_schema") if word in inner}


def _plain(value: Any) -> Any:
    """Return a setting as it is, or, where it is the class of a structured answer, that class's schema."""
    schema = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
    if schema is not None:
        return schema()
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json")


def _encode(reply: Reply) -> bytes:
    return encode({"answer": reply.answer, "tokens": reply.tokens})


def _decode(data: bytes) -> Reply:
    held = cast("dict[str, Any]", decode(data))
    return Reply(held["answer"], held["tokens"])


def _told(about: Mapping[str, Scalar], reply: Reply) -> Told:
    attributes = dict(about)
    for name, word in _TOKENS:
        if reply.tokens.get(word):
            attributes[name] = reply.tokens[word]
    issued: list[str] = []
    answer: object = reply.answer
    if isinstance(answer, list):
        extract = import_module("crewai.utilities.agent_utils").extract_tool_call_info
        for call in cast("list[object]", answer):
            info = extract(call)
            if info and info[0] and not _ADDRESS.fullmatch(str(info[0])):
                issued.append(str(info[0]))
    return Told(attributes, tuple(issued))
