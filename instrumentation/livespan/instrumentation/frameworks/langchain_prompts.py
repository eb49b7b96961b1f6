"""What of a LangChain model call identifies it, how its answer is recorded, and what the answer says of itself.

The input is a whitelist of what the model sees: a blacklist breaks with the next version that stamps something new on
a message. Not in it: ids and metadata of messages, token counts, artifacts of tools, addresses, keys and headers of
the client, and `stream`, which says how an answer travels and not what it is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.calling import prompt_site
from livespan.proto import attributes as names
from livespan.proto.codec import decode, encode
from livespan.proto.errors import Unrecordable
from livespan.proto.span import Scalar

__all__ = ["FRAMEWORK", "prompt", "streamed_prompt"]

FRAMEWORK: Final = "langgraph"
_PARAMETERS: Final = (
    "_type",
    "model",
    "model_name",
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
)
_ROLES: Final = {
    "AIMessageChunk": "ai",
    "ChatMessageChunk": "chat",
    "FunctionMessageChunk": "function",
    "HumanMessageChunk": "human",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
_TOKENS: Final = (
    (names.INPUT_TOKENS, ("input_tokens",)),
    (names.OUTPUT_TOKENS, ("output_tokens",)),
    (names.CACHE_READ_TOKENS, ("input_token_details", "cache_read")),
    (names.CACHE_WRITE_TOKENS, ("input_token_details", "cache_creation")),
    (names.REASONING_TOKENS, ("output_token_details", "reasoning")),
)


def prompt(
    model: BaseChatModel, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
) -> tuple[CallSite, Request]:
    """Return a model call as its site and request; its result is a ChatResult.

    Args:
        kwargs: of the call, among them what `bind` and `bind_tools` added.
    """
    return _prompt(model, messages, stop, kwargs, streamed=False)


def streamed_prompt(
    model: BaseChatModel, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
) -> tuple[CallSite, Request]:
    """As `prompt`; the result is one message chunk, the sum of all that came."""
    return _prompt(model, messages, stop, kwargs, streamed=True)


def _prompt(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    stop: list[str] | None,
    kwargs: Mapping[str, Any],
    *,
    streamed: bool,
) -> tuple[CallSite, Request]:
    known = cast("Mapping[str, Any]", model._get_ls_params(stop=stop, **kwargs))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no public door to it
    given: dict[str, Any] = model._get_invocation_params(stop=stop, **kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above
    name = str(known.get("ls_model_name") or given.get("model") or given.get("model_name") or type(model).__name__)
    value: dict[str, Any] = {
        "messages": [_seen(message) for message in messages],
        "parameters": {word: _plain(given[word]) for word in _PARAMETERS if given.get(word) is not None},
    }
    tools = kwargs.get("tools") or given.get("tools") or kwargs.get("functions") or given.get("functions")
    if tools:
        value["tools"] = [_plain(tool) for tool in tools]
    about: dict[str, Scalar] = {names.MODEL: name}
    if known.get("ls_provider"):
        about[names.PROVIDER] = str(known["ls_provider"])
    if streamed:
        codec = Codec(encode, decode, functools.partial(_told_by_message, about))
    else:
        codec = Codec(_encode_result, _decode_result, functools.partial(_told_by_result, about))
    return prompt_site(name, FRAMEWORK), Request(value, codec=codec)


def _seen(message: BaseMessage) -> dict[str, Any]:
    """Return what the model sees of a message."""
    # From its fields as they are: to ask a pydantic object for what it lacks costs ten times all the rest.
    held = message.__dict__
    kind: str = held["type"]
    seen: dict[str, Any] = {"role": _ROLES.get(kind, kind), "content": held["content"]}
    for word in ("tool_calls", "invalid_tool_calls"):
        calls = held.get(word)
        if calls:
            seen[word] = [{part: call.get(part) for part in ("name", "args", "id")} for call in calls]
    # The old form of a tool call, which no field of a message holds.
    function_call = held["additional_kwargs"].get("function_call")
    if function_call:
        seen["function_call"] = function_call
    for word, usual, told in (
        ("name", None, "name"),
        ("role", None, "as"),
        ("tool_call_id", None, "tool_call_id"),
        ("status", "success", "status"),
    ):
        one = held.get(word, usual)
        if one != usual:
            seen[told] = one
    return seen


def _plain(value: Any) -> Any:
    """Return a parameter as it is, or, where it is the class of a structured answer, that class's schema."""
    schema = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
    return value if schema is None else schema()


def _encode_result(result: ChatResult) -> bytes:
    messages = [generation.message for generation in result.generations]
    about = {"info": [generation.generation_info for generation in result.generations], "llm_output": result.llm_output}
    try:
        return encode({"messages": messages, **about})
    except Unrecordable:
        # Beside the messages, which are the answer, a model may hand out objects of its client.
        return encode({"messages": messages})


def _decode_result(data: bytes) -> ChatResult:
    held = cast("dict[str, Any]", decode(data))
    messages = cast("list[BaseMessage]", held["messages"])
    info: Iterable[dict[str, Any] | None] = held.get("info") or [None] * len(messages)
    return ChatResult(
        generations=[
            ChatGeneration(message=message, generation_info=one) for message, one in zip(messages, info, strict=True)
        ],
        llm_output=held.get("llm_output"),
    )


def _told_by_result(about: Mapping[str, Scalar], result: ChatResult) -> Told:
    return _told(about, [generation.message for generation in result.generations])


def _told_by_message(about: Mapping[str, Scalar], message: BaseMessage) -> Told:
    return _told(about, [message])


def _told(about: Mapping[str, Scalar], messages: Sequence[BaseMessage]) -> Told:
    attributes = dict(about)
    issued: list[str] = []
    for message in messages:
        for word in ("tool_calls", "invalid_tool_calls"):
            issued += [call["id"] for call in getattr(message, word, None) or () if call.get("id")]
    # Where an answer has several choices each one carries the tokens of them all.
    usage = next((used for message in messages if (used := getattr(message, "usage_metadata", None))), None)
    for name, place in _TOKENS if usage is not None else ():
        count: Any = usage
        for word in place:
            count = cast("dict[str, Any]", count).get(word) if isinstance(count, dict) else None
        if isinstance(count, int):
            attributes[name] = count
    return Told(attributes, tuple(issued))
