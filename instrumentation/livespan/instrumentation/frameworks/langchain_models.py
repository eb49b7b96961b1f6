"""Model calls of LangChain that are answered whole: what stands in for `BaseChatModel._generate_with_cache` and its
twin.

    invoke, batch, graph nodes ─▶ generate ─▶ _generate_with_cache: one call, one prompt, one node

It lies below the callbacks, so that these are told of an answer from the record as of any other (of its tokens by
langchain_answers.py), and above a cache of the user's. An answer is encoded before it is returned, since LangGraph
writes ids into the very object later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from livespan.instrumentation.frameworks.langchain_answers import atell_tokens, tell_tokens
from livespan.instrumentation.frameworks.langchain_prompts import prompt
from livespan.instrumentation.frameworks.langgraph_scopes import calling_scope
from livespan.instrumentation.run_block import active

__all__ = ["recording_agenerate", "recording_generate", "stopping_agenerate"]

_Function: TypeAlias = Callable[..., Any]


def recording_generate(original: _Function) -> _Function:
    """Return `_generate_with_cache`, recorded."""

    @functools.wraps(original)
    def _generate_with_cache(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        session, scope = calling_scope()
        site, request = prompt(self, messages, stop, kwargs)
        asked: list[bool] = []

        def ask() -> Any:
            asked.append(True)
            return original(self, messages, stop, run_manager, **kwargs)

        result = session.call(scope, site, request, ask)
        if not asked:
            tell_tokens(self, result, run_manager, kwargs)
        return result

    return _generate_with_cache


def recording_agenerate(original: _Function) -> _Function:
    """Return `_agenerate_with_cache`, recorded."""

    @functools.wraps(original)
    async def _agenerate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        session, scope = calling_scope()
        site, request = prompt(self, messages, stop, kwargs)
        asked: list[bool] = []

        def ask() -> Any:
            asked.append(True)
            return original(self, messages, stop, run_manager, **kwargs)

        result = await session.acall(scope, site, request, ask)
        if not asked:
            await atell_tokens(self, result, run_manager, kwargs)
        return result

    return _agenerate_with_cache


def stopping_agenerate(original: _Function) -> _Function:
    """Return `agenerate`, out of which a Stop comes as itself.

    The original gathers outcomes, takes every one that is no Exception for an answer, and dies of that by an
    AttributeError.
    """

    @functools.wraps(original)
    async def agenerate(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await original(self, *args, **kwargs)
        except AttributeError as error:
            stopped = active()[0].core.stopped
            if stopped is not None:
                raise stopped.with_traceback(None) from error
            raise

    return agenerate
