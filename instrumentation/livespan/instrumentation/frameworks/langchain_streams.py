"""Model calls of LangChain that are streamed: what stands in for `BaseChatModel.stream` and `astream`.

    model ─▶ chunk 1 ─▶ chunk 2 ─▶ ... ─▶ chunk n ─▶ (end)
                  └ handed on when chunk 2 is here     └ the sum is recorded, then chunk n is handed on

One chunk is held back, so that whoever has the last one has an answer that is recorded. From the record an answer
comes as one chunk. A stream that its reader leaves has no answer: the next life asks again.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, Request
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks.langchain_answers import recorded_model
from livespan.instrumentation.frameworks.langchain_prompts import streamed_prompt
from livespan.instrumentation.frameworks.langgraph_scopes import calling_scope
from livespan.instrumentation.session import Session

__all__ = ["recording_astream", "recording_stream"]

_Function: TypeAlias = Callable[..., Any]
_Call: TypeAlias = tuple[Session, Scope, CallSite, Request]


def recording_stream(original: _Function) -> _Function:
    """Return `stream`, recorded."""

    @functools.wraps(original)
    def stream(self: Any, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002 - its own word
        chunks = original(self, input, config, stop=stop, **kwargs)
        if not self._should_stream(async_api=False, **{**kwargs, "stream": True}):
            return chunks  # type: ignore[no-any-return]  # it will come by `invoke`, and be recorded there

        def again(whole: Any) -> Iterator[Any]:
            return original(recorded_model(self, whole), input, config, stop=stop, **kwargs)  # type: ignore[no-any-return]

        return _recorded(_call(self, input, stop, kwargs), chunks, again)

    return stream


def recording_astream(original: _Function) -> _Function:
    """Return `astream`, recorded."""

    @functools.wraps(original)
    def astream(self: Any, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002 - its own word
        chunks = original(self, input, config, stop=stop, **kwargs)
        if not self._should_stream(async_api=True, **{**kwargs, "stream": True}):
            return chunks  # type: ignore[no-any-return]  # it will come by `ainvoke`, and be recorded there

        def again(whole: Any) -> AsyncIterator[Any]:
            return original(recorded_model(self, whole), input, config, stop=stop, **kwargs)  # type: ignore[no-any-return]

        return _arecorded(_call(self, input, stop, kwargs), chunks, again)

    return astream


def _call(model: Any, asked: Any, stop: Any, kwargs: dict[str, Any]) -> _Call:
    """Return what is to be begun; the scope is the caller's, wherever the stream is read."""
    session, scope = calling_scope()
    messages = model._convert_input(asked).to_messages()  # noqa: SLF001 - upstream's own reading of its input
    site, request = streamed_prompt(model, messages, stop, kwargs)
    return session, scope, site, request


def _recorded(call: _Call, chunks: Any, again: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    session, scope, site, request = call
    begun = session.begin(scope, site, request)
    if isinstance(begun, Answered):
        yield from again(begun.value)
        return
    inside = begun.live.inside
    whole: Any = None
    held: Any = None
    try:
        while True:
            # Only while the model is asked: between two chunks the code that runs is the reader's.
            with entered(inside):
                chunk = next(chunks, None)
            if chunk is None:
                break
            if held is not None:
                yield held
            held = chunk
            whole = chunk if whole is None else whole + chunk
    except BaseException as error:
        session.fail(begun, error)
        chunks.close()
        raise
    session.end(begun, whole)
    if held is not None:
        yield held


async def _arecorded(call: _Call, chunks: Any, again: Callable[[Any], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    session, scope, site, request = call
    begun = session.begin(scope, site, request)
    if isinstance(begun, Answered):
        async for chunk in again(begun.value):
            yield chunk
        return
    inside = begun.live.inside
    whole: Any = None
    held: Any = None
    try:
        while True:
            with entered(inside):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            if held is not None:
                yield held
            held = chunk
            whole = chunk if whole is None else whole + chunk
    except BaseException as error:
        session.fail(begun, error)
        await chunks.aclose()
        raise
    session.end(begun, whole)
    if held is not None:
        yield held
