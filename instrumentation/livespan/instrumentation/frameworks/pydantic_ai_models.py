"""Model calls of Pydantic AI: what stands in for `request` and `request_stream` of every Model.

A model that asks another one (a fallback, a wrapper) is one call, the outer one's. An answer is recorded whole, however
it came; one that is in the record comes as a stream where a stream is asked for, each part in one piece.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

from pydantic_ai.models import CompletedStreamedResponse, StreamedResponse

from livespan.instrumentation.branches import entered
from livespan.instrumentation.calls import Answered, Codec, OpenCall, Request
from livespan.instrumentation.frameworks.agent_runs import calling_scope
from livespan.instrumentation.frameworks.calling import is_recorded_around
from livespan.instrumentation.frameworks.pydantic_ai_prompts import asked_of, site_of, told_by
from livespan.instrumentation.session import Session
from livespan.proto.codec import decode, encode
from livespan.proto.node import NodeType

__all__ = ["recording_request", "recording_request_stream"]

_Function: TypeAlias = Callable[..., Any]
_Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]
_CODEC: Final = Codec(encode, decode, told_by)


def recording_request(original: _Function) -> _Function:
    """Return `request`, recorded."""

    @functools.wraps(original)
    async def request(self: Any, messages: Any, model_settings: Any, model_request_parameters: Any) -> Any:
        def body() -> Any:
            return original(self, messages, model_settings, model_request_parameters)

        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return await body()
        asked = Request(asked_of(self, messages, model_settings, model_request_parameters), codec=_CODEC)
        return await session.acall(scope, site_of(self), asked, body)

    return request


def recording_request_stream(original: _Opening) -> _Opening:
    """Return `request_stream`, recorded."""

    @asynccontextmanager
    async def opened(
        self: Any, messages: Any, model_settings: Any, model_request_parameters: Any, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[Any]:
        session, scope = calling_scope()
        begun: OpenCall | Answered | None = None
        if not is_recorded_around(session, scope, NodeType.PROMPT):
            asked = asked_of(self, messages, model_settings, model_request_parameters)
            begun = session.begin(scope, site_of(self), Request(asked, codec=_CODEC))
        if isinstance(begun, Answered):
            yield CompletedStreamedResponse(
                begun.value, model_request_parameters=model_request_parameters, replay_events=True
            )
            return
        opening = original(self, messages, model_settings, model_request_parameters, *args, **kwargs)
        if begun is None:
            async with opening as stream:
                yield stream
            return
        async with _recorded(session, begun, opening) as stream:
            yield stream

    return functools.wraps(original)(opened)


@asynccontextmanager
async def _recorded(
    session: Session, begun: OpenCall, opening: AbstractAsyncContextManager[Any]
) -> AsyncGenerator[StreamedResponse]:
    """Open a stream; it is an answer once its reader has come to its end."""
    async with AsyncExitStack() as stack:
        try:
            with entered(begun.live.inside):
                stream = await stack.enter_async_context(opening)
        except BaseException as error:
            session.fail(begun, error)
            raise
        recording = _Recording(session, begun, stream)
        try:
            yield stream
        finally:
            # Whatever made its reader leave it: it has no answer.
            if not recording.ended:
                session.fail(begun, GeneratorExit("the stream was left before its end"))


class _Recording:
    """One stream, read by whoever reads it. One event is held back until the next is here, or the end is recorded."""

    def __init__(self, session: Session, begun: OpenCall, stream: Any) -> None:
        self.ended = False
        self._session = session
        self._begun = begun
        self._stream = stream
        # A stream makes its iterator when it is first read; one that was looked into (by a fallback) has it.
        if stream._event_iterator is None:  # noqa: SLF001 - there is no public door to a stream's events
            stream._get_event_iterator = functools.partial(self._read_first, stream._get_event_iterator)  # noqa: SLF001
        else:
            stream._event_iterator = self._read(stream._event_iterator)  # noqa: SLF001

    def _read_first(self, make: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return self._read(make())

    async def _read(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        held: Any = None
        while True:
            try:
                # Only while the model is asked: between two events the code that runs is the reader's.
                with entered(self._begun.live.inside):
                    event = await anext(source, None)
            except BaseException as error:
                self.ended = True
                self._session.fail(self._begun, error)
                raise
            if event is None:
                break
            if held is not None:
                yield held
            held = event
        if not self._stream.cancelled:
            # All of it is here; the stream itself says so only after its last event was handed on.
            self._stream._finished = True  # noqa: SLF001 - what the stream sets itself, one event early
            self.ended = True
            self._session.end(self._begun, self._stream.get())
        if held is not None:
            yield held
