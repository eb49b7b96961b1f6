"""Model calls of Strands: what stands in for `Model.stream` and `Model.structured_output` of every model class.

    event loop, summaries, structured_output ─▶ stream ─▶ the provider's client

They lie below middleware and retries, so that each request is one node, and above the client. A model that hands on to
another one (a router, a subclass) makes no second node.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from livespan.instrumentation.frameworks.calling import is_recorded_around
from livespan.instrumentation.frameworks.strands_prompts import Asked, prompt, structured_prompt
from livespan.instrumentation.frameworks.strands_scopes import calling_scope
from livespan.instrumentation.frameworks.streams import StreamedCall, arecorded_parts
from livespan.proto.node import NodeType

__all__ = ["recording_stream", "recording_structured_output"]

_Function: TypeAlias = Callable[..., Any]


def recording_stream(original: _Function) -> _Function:
    """Return `stream`, recorded."""

    @functools.wraps(original)
    def stream(
        self: Any, messages: Any, tool_specs: Any = None, system_prompt: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        async def start() -> AsyncIterator[Any]:
            return aiter(original(self, messages, tool_specs, system_prompt, *args, **kwargs))

        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return original(self, messages, tool_specs, system_prompt, *args, **kwargs)
        site, request = prompt(self, Asked(messages, system_prompt, tool_specs, kwargs), scope.claims.known)
        return arecorded_parts(StreamedCall(session, scope, site, request), start)

    return stream


def recording_structured_output(original: _Function) -> _Function:
    """Return `structured_output`, recorded; from the record it comes without what was said on the way."""

    @functools.wraps(original)
    def structured_output(
        self: Any, output_model: Any, prompt: Any, system_prompt: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        async def start() -> AsyncIterator[Any]:
            return aiter(original(self, output_model, prompt, system_prompt, *args, **kwargs))

        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return original(self, output_model, prompt, system_prompt, *args, **kwargs)
        site, request = structured_prompt(
            self, output_model, Asked(prompt, system_prompt, None, kwargs), scope.claims.known
        )
        return arecorded_parts(StreamedCall(session, scope, site, request), start)

    return structured_output
