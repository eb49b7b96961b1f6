"""Model calls of ADK: what stands in for `BaseLlm.generate_content_async` of every model class.

They lie below callbacks and plugins, and above the client. A model that hands on to another one makes no second node.
ADK writes ids into the very objects that a model answers with, so what is recorded is taken as it comes.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from livespan.instrumentation.frameworks.adk_prompts import Part, prompt
from livespan.instrumentation.frameworks.adk_scopes import calling_scope
from livespan.instrumentation.frameworks.calling import is_recorded_around
from livespan.instrumentation.frameworks.streams import StreamedCall, arecorded_parts
from livespan.proto.node import NodeType

__all__ = ["recording_generate"]

_Function: TypeAlias = Callable[..., Any]


def recording_generate(original: _Function) -> _Function:
    """Return `generate_content_async`, recorded."""

    @functools.wraps(original)
    def generate_content_async(self: Any, llm_request: Any, *args: Any, **kwargs: Any) -> Any:
        async def start() -> AsyncIterator[Part]:
            return _parts(original(self, llm_request, *args, **kwargs))

        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return original(self, llm_request, *args, **kwargs)
        site, request = prompt(self, llm_request, scope.claims.known)
        return _responses(StreamedCall(session, scope, site, request), start)

    return generate_content_async


async def _parts(responses: Any) -> AsyncIterator[Part]:
    async with aclosing(responses):
        async for response in responses:
            yield Part.of(response)


async def _responses(call: StreamedCall, start: Callable[[], Any]) -> AsyncIterator[Any]:
    async with aclosing(cast("Any", arecorded_parts(call, start))) as parts:
        async for part in parts:
            yield part.response
