"""Agents as tools of Strands: scopes, whose refusals are recorded.

Such a tool refuses a second call while it works on a first, and both may stand in one answer. Whether they meet is a
matter of time, and a life that has the first one's calls answered takes less of it. So a refusal is recorded, as a read
under the id of the call that was refused; all else is entered in every life. Strands leaves the tool busy until Python
finds its generator abandoned: here it is closed before the result is handed on.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from importlib import import_module
from typing import Any, TypeAlias

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, OpenCall, Request
from livespan.instrumentation.core import FAIL
from livespan.instrumentation.frameworks.strands_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.strands_scopes import calling_scope
from livespan.proto.node import NodeType

__all__ = ["settled_stream"]

_Function: TypeAlias = Callable[..., Any]

_ResultEvent: Any = import_module("strands.types._events").ToolResultEvent


def settled_stream(original: _Function) -> _Function:
    """Return `_AgentAsTool.stream`, which refuses in a later life what it refused in an earlier one, and no more."""

    @functools.wraps(original)
    async def stream(self: Any, tool_use: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        call_id = str(tool_use["toolUseId"])
        session, scope = calling_scope(call_id)
        begun: OpenCall | Answered | None = None
        if call_id in scope.claims.known:
            begun = session.ask(scope, _refusal(self.tool_name), Request(tool_use["input"], None, call_id))
        if isinstance(begun, Answered):
            yield _ResultEvent(begun.value)
            return
        busy = self._lock.locked()
        async with aclosing(original(self, tool_use, *args, **kwargs)) as source:
            async for event in source:
                if isinstance(event, _ResultEvent):
                    await source.aclose()
                    if busy and begun is not None:
                        session.start(begun)
                        session.end(begun, event.tool_result)
                yield event

    return stream


@functools.lru_cache(maxsize=256)
def _refusal(name: str) -> CallSite:
    return CallSite.of(NodeType.TOOL, name, effect=False, in_doubt=FAIL, framework=FRAMEWORK)
