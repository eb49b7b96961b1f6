"""Model calls of the OpenAI Agents SDK: what stands in for `get_response` and `stream_response` of every Model.

A model that asks another one (a fallback, a wrapper) is one call, the outer one's. From the record a stream comes with
all its events, but with neighbouring pieces of one text as one piece.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias, cast

from livespan.instrumentation.call_site import Told
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.frameworks.agent_runs import calling_scope
from livespan.instrumentation.frameworks.calling import is_recorded_around
from livespan.instrumentation.frameworks.openai_agents_prompts import asked_of, site_of, told_by
from livespan.instrumentation.frameworks.streams import StreamedCall, arecorded_parts
from livespan.proto.codec import decode, encode
from livespan.proto.node import NodeType

__all__ = ["recording_get_response", "recording_stream_response"]

_Function: TypeAlias = Callable[..., Any]
_PARAMETERS: Final = (
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
)


def recording_get_response(original: _Function) -> _Function:
    """Return `get_response`, recorded."""

    @functools.wraps(original)
    async def get_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return await original(self, *args, **kwargs)
        codec = Codec(encode, decode, functools.partial(_told_by_response, self))
        request = Request(asked_of(self, _by_name(args, kwargs)), codec=codec)
        return await session.acall(scope, site_of(self), request, lambda: original(self, *args, **kwargs))

    return get_response


def recording_stream_response(original: _Function) -> _Function:
    """Return `stream_response`, recorded."""

    @functools.wraps(original)
    def stream_response(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        session, scope = calling_scope()
        if is_recorded_around(session, scope, NodeType.PROMPT):
            return cast("AsyncIterator[Any]", original(self, *args, **kwargs))

        async def start() -> AsyncIterator[Any]:
            return cast("AsyncIterator[Any]", original(self, *args, **kwargs))

        codec = Codec(_encode_events, decode, functools.partial(_told_by_events, self))
        request = Request(asked_of(self, _by_name(args, kwargs)), codec=codec)
        return arecorded_parts(StreamedCall(session, scope, site_of(self), request), start)

    return stream_response


def _by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}


def _told_by_response(model: Any, response: Any) -> Told:
    return told_by(model, response.output, response.usage)


def _told_by_events(model: Any, events: list[Any]) -> Told:
    for event in reversed(events):
        response = getattr(event, "response", None)
        if response is not None:
            return told_by(model, response.output, response.usage)
    return told_by(model, (), None)


def _encode_events(events: list[Any]) -> bytes:
    return encode(_joined(events))


def _joined(events: list[Any]) -> list[Any]:
    """Return the events with neighbouring deltas of one text as one: an event holds ten times what its piece does."""
    joined: list[Any] = []
    place: tuple[Any, ...] | None = None
    texts: list[str] = []

    def end_text() -> None:
        if len(texts) > 1:
            joined[-1] = joined[-1].model_copy(update={"delta": "".join(texts)})
        texts.clear()

    for event in events:
        delta = getattr(event, "delta", None)
        logprobs = getattr(event, "logprobs", None)
        if not isinstance(delta, str) or logprobs:
            end_text()
            place = None
            joined.append(event)
            continue
        here = tuple(getattr(event, word, None) for word in ("type", "item_id", "output_index", "content_index"))
        if here != place:
            end_text()
            place = here
            joined.append(event)
        texts.append(delta)
    end_text()
    return joined
