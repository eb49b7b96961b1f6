"""Model calls of crewAI: what stands in for `BaseLLM.call` and `acall` of every model.

    agent, guardrail, planner, your code ─▶ call ─┬─ made inside of another model call: part of that one
                                                  └─ session.call ─▶ the provider's class

With an answer the tokens are recorded that it cost, since a crew sums them up for its result. A model that streams
says each chunk to crewAI's event bus: the last one is held back until the answer is recorded, and an answer from the
record is said as one chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from importlib import import_module
from typing import Any, Final, TypeAlias

from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks.calling import is_recorded_around
from livespan.instrumentation.frameworks.crewai_prompts import Reply, prompt
from livespan.instrumentation.frameworks.crewai_scopes import calling_scope
from livespan.instrumentation.session import Session
from livespan.proto.node import NodeType

__all__ = ["counting_tokens", "holding_chunk", "recording_acall", "recording_call"]

_Function: TypeAlias = Callable[..., Any]


class _Live:
    """One call that is made now: the tokens that were counted, and the chunk that is held back."""

    __slots__ = ("held", "made", "tokens")

    def __init__(self) -> None:
        self.made = False
        self.tokens: dict[str, int] = {}
        self.held: Callable[[], object] | None = None

    def hold(self, chunk: Callable[[], object] | None) -> None:
        """Say the chunk that was held until now, and hold this one."""
        said, self.held = self.held, chunk
        if said is not None:
            said()


_LIVE: Final[ContextVar[_Live | None]] = ContextVar("livespan_crewai_live", default=None)


def recording_call(original: _Function) -> _Function:
    """Return `call`, recorded."""

    @functools.wraps(original)
    def call(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        session, scope = calling_scope()
        if _is_inside(session, scope):
            return original(self, messages, *args, **kwargs)
        live = _Live()

        def body() -> Reply:
            with _making(live):
                return Reply(original(self, messages, *args, **kwargs), live.tokens)

        site, request = prompt(self, messages, args, kwargs)
        return _handed_on(self, live, session.call(scope, site, request, body), kwargs)

    return call


def recording_acall(original: _Function) -> _Function:
    """Return `acall`, recorded."""

    @functools.wraps(original)
    async def acall(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        session, scope = calling_scope()
        if _is_inside(session, scope):
            return await original(self, messages, *args, **kwargs)
        live = _Live()

        async def body() -> Reply:
            with _making(live):
                return Reply(await original(self, messages, *args, **kwargs), live.tokens)

        site, request = prompt(self, messages, args, kwargs)
        return _handed_on(self, live, await session.acall(scope, site, request, body), kwargs)

    return acall


def counting_tokens(original: _Function) -> _Function:
    """Return `_track_token_usage_internal`, which counts for the call that is being made, too."""

    @functools.wraps(original)
    def _track_token_usage_internal(self: Any, *args: Any, **kwargs: Any) -> Any:
        live = _LIVE.get()
        if live is None:
            return original(self, *args, **kwargs)
        before = dict(self._token_usage)
        original(self, *args, **kwargs)
        for name, count in self._token_usage.items():
            live.tokens[name] = live.tokens.get(name, 0) + count - before.get(name, 0)
        return None

    return _track_token_usage_internal


def holding_chunk(original: _Function) -> _Function:
    """Return `_emit_stream_chunk_event`, which says a chunk when the next one is here."""

    @functools.wraps(original)
    def _emit_stream_chunk_event(self: Any, *args: Any, **kwargs: Any) -> None:
        live = _LIVE.get()
        if live is None:
            original(self, *args, **kwargs)
        else:
            live.hold(functools.partial(copy_context().run, original, self, *args, **kwargs))

    return _emit_stream_chunk_event


def _is_inside(session: Session, scope: Scope) -> bool:
    return is_recorded_around(session, scope, NodeType.PROMPT)


@contextmanager
def _making(live: _Live) -> Generator[None]:
    live.made = True
    token = _LIVE.set(live)
    try:
        yield
    except BaseException:
        live.hold(None)
        raise
    finally:
        _LIVE.reset(token)


def _handed_on(model: Any, live: _Live, reply: Reply, kwargs: dict[str, Any]) -> Any:
    """Return the answer, once its last chunk is said; one from the record counts and streams as it did."""
    if live.made:
        live.hold(None)
        return reply.answer
    for name, count in reply.tokens.items():
        model._token_usage[name] = model._token_usage.get(name, 0) + count  # noqa: SLF001 - what its own counting adds to
    if isinstance(reply.answer, str) and model._effective_stream():  # noqa: SLF001 - no public door to it
        with import_module("crewai.llms.base_llm").llm_call_context():
            model._emit_stream_chunk_event(reply.answer, kwargs.get("from_task"), kwargs.get("from_agent"))  # noqa: SLF001 - as above
    return reply.answer
