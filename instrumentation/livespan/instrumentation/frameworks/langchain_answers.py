"""Answers from the record, told to LangChain's callbacks as live ones are: who collects tokens, messages or results of
tools from `stream_mode="messages"`, `astream_events` or a handler of his own has them in every life.

A stream, or a tool, is played once more by LangChain itself, over a copy of the model or tool in which the innermost
function alone is another: it returns what is recorded. So start, tokens, end and error come in LangChain's own order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

__all__ = ["Outcome", "atell_tokens", "recorded_model", "recorded_tool", "tell_tokens"]


class Outcome:
    """How a call came out: its value, or the error that it raised."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self.value = value
        self.error = error

    def get(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


def tell_tokens(model: Any, result: ChatResult, run_manager: Any, kwargs: dict[str, Any]) -> None:
    """Tell those who want tokens of a whole answer from the record, as one of them."""
    if run_manager is None:
        return
    model._replay_v2_events_for_cache_hit(list(result.generations), run_manager=run_manager, **kwargs)  # noqa: SLF001 - made for answers out of a cache
    if model._should_stream(async_api=False, run_manager=run_manager, **kwargs):  # noqa: SLF001 - as live ones are asked
        for chunk in _chunks(result):
            run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)


async def atell_tokens(model: Any, result: ChatResult, run_manager: Any, kwargs: dict[str, Any]) -> None:
    """As `tell_tokens`, for asynchronous calls."""
    if run_manager is None:
        return
    await model._areplay_v2_events_for_cache_hit(list(result.generations), run_manager=run_manager, **kwargs)  # noqa: SLF001 - made for answers out of a cache
    if model._should_stream(async_api=True, run_manager=run_manager, **kwargs):  # noqa: SLF001 - as live ones are asked
        for chunk in _chunks(result):
            await run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)


def recorded_model(model: Any, chunk: Any) -> Any:
    """Return a copy of a model that streams one message chunk, and asks nobody."""

    def stream(*_args: Any, **_kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=chunk)

    async def astream(*_args: Any, **_kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=chunk)

    return _copy(model, _stream=stream, _astream=astream, rate_limiter=None)


def recorded_tool(tool: Any, outcome: Outcome) -> Any:
    """Return a copy of a tool whose function has the recorded outcome. What its `run` returned passes through `run`
    unchanged.
    """
    pair = tool.response_format == "content_and_artifact"

    def run(*_args: Any, **_kwargs: Any) -> Any:
        value = outcome.get()
        return (value, None) if pair else value

    async def arun(*_args: Any, **_kwargs: Any) -> Any:
        return run()

    return _copy(tool, _run=run, _arun=arun)


def _copy(original: Any, **held: Any) -> Any:
    copied = original.model_copy()
    copied.__dict__.update(held)  # past pydantic: what stands in the instance is found before the class's function
    return copied


def _chunks(result: ChatResult) -> Iterator[ChatGenerationChunk]:
    for generation in result.generations:
        message = generation.message
        if isinstance(message, AIMessage):
            known = AIMessageChunk.model_fields
            fields: dict[str, Any] = {name: value for name, value in message.__dict__.items() if name in known}
            fields.update(type="AIMessageChunk", chunk_position="last")
            whole = AIMessageChunk(**fields)
            yield ChatGenerationChunk(message=whole)
