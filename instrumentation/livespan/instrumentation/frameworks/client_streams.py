"""Streamed answers of the OpenAI and Anthropic clients, recorded event by event under the client's own stream object.

    provider ─▶ event 1 ─▶ event 2 ─▶ ... ─▶ the one that ends the answer ─▶ ... ─▶ (end)
                     └ handed on when event 2 is here            └ the rest is read, all are recorded, then handed on

The request is made at once, as without us, so that calls keep their order; its call ends when its stream does. Whoever
stops reading at the event that ends the answer has one that is recorded. From the record the same events come, out of
the same class of stream. A stream that its reader leaves earlier has no answer: the next life asks again. That it was
left is recorded where it is closed, and not where it is merely dropped: the garbage collector would write then, in the
middle of anything, even of another write.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias, cast, get_args

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, OpenCall, Request
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks.client_answers import Answer, answered, plain_part, response_of
from livespan.instrumentation.session import Session

__all__ = ["StreamedRequest", "arecorded", "recorded", "require_iterator"]

_Call: TypeAlias = tuple[Scope, CallSite, Request]
_NOTHING: Final = object()


class StreamedRequest(NamedTuple):
    """Who asks, the class of stream that it wants, and whether an event ends an answer."""

    client: Any
    stream_class: Any
    is_end: Callable[[Mapping[str, Any]], bool]


def require_iterator(*stream_classes: type) -> None:
    """Raise AttributeError unless streams of these classes are read through what is replaced here."""
    for kind in stream_classes:
        iterating: Any = kind.__dict__.get("__iter__") or kind.__dict__.get("__aiter__")
        if "_iterator" not in iterating.__code__.co_names:
            raise AttributeError(f"{kind!r} is not read through _iterator")


def recorded(session: Session, call: _Call, asked: StreamedRequest, ask: Callable[[], Any]) -> Any:
    """Return a stream: what `ask` returns, being recorded, or one of recorded events."""
    begun = session.begin(*call)
    if isinstance(begun, Answered):
        stream, events = _rebuilt(asked, begun.value)
        stream._iterator = events  # noqa: SLF001 - what a stream is read through
        return stream
    try:
        with entered(begun.live.inside):
            stream = ask()
    except BaseException as error:
        session.fail(begun, error)
        raise
    closing = _Closing()
    reading: Any = _recording(session, begun, asked, stream.response, stream._iterator, closing)  # noqa: SLF001 - as above
    stream._iterator = reading  # noqa: SLF001 - as above
    stream.close = functools.partial(_close, closing, reading, weakref.ref(stream))
    return stream


async def arecorded(session: Session, call: _Call, asked: StreamedRequest, ask: Callable[[], Awaitable[Any]]) -> Any:
    """As `recorded`, of an asynchronous client."""
    begun = session.begin(*call)
    if isinstance(begun, Answered):
        stream, events = _rebuilt(asked, begun.value)
        stream._iterator = _asynchronous(events)  # noqa: SLF001 - what a stream is read through
        return stream
    try:
        with entered(begun.live.inside):
            stream = await ask()
    except BaseException as error:
        session.fail(begun, error)
        raise
    closing = _Closing()
    reading: Any = _arecording(session, begun, asked, stream.response, stream._iterator, closing)  # noqa: SLF001 - as above
    stream._iterator = reading  # noqa: SLF001 - as above
    stream.close = functools.partial(_aclose, closing, reading, weakref.ref(stream))
    return stream


class _Closing:
    """Whether a stream's reader has closed it."""

    __slots__ = ("by_reader",)

    def __init__(self) -> None:
        self.by_reader = False


def _close(closing: _Closing, events: Any, stream: Callable[[], Any]) -> None:
    closing.by_reader = True
    # Another thread may be reading it.
    with suppress(ValueError):
        events.close()
    held = stream()
    if held is not None:
        cast("Any", type(held)).close(held)


async def _aclose(closing: _Closing, events: Any, stream: Callable[[], Any]) -> None:
    closing.by_reader = True
    # Another task may be reading it.
    with suppress(RuntimeError):
        await events.aclose()
    held = stream()
    if held is not None:
        await cast("Any", type(held)).close(held)


def _recording(
    session: Session, begun: OpenCall, asked: StreamedRequest, response: Any, source: Any, closing: _Closing
) -> Iterator[Any]:
    parts: list[Any] = []
    held: list[Any] = []
    ended = False
    try:
        while True:
            # Only while the model is asked: between two events the code that runs is the reader's.
            with entered(begun.live.inside):
                part = next(source, _NOTHING)
            if part is _NOTHING:
                break
            if held and not ended:
                yield held.pop()
            held.append(part)
            parts.append(plain_part(part))
            ended = ended or _ends(asked, parts[-1])
    except BaseException as error:
        if closing.by_reader or not isinstance(error, GeneratorExit):
            session.fail(begun, error)
        source.close()
        raise
    session.end(begun, answered(parts, response))
    yield from held


async def _arecording(
    session: Session, begun: OpenCall, asked: StreamedRequest, response: Any, source: Any, closing: _Closing
) -> AsyncIterator[Any]:
    parts: list[Any] = []
    held: list[Any] = []
    ended = False
    try:
        while True:
            with entered(begun.live.inside):
                part = await anext(source, _NOTHING)
            if part is _NOTHING:
                break
            if held and not ended:
                yield held.pop()
            held.append(part)
            parts.append(plain_part(part))
            ended = ended or _ends(asked, parts[-1])
    except BaseException as error:
        if closing.by_reader or not isinstance(error, GeneratorExit):
            session.fail(begun, error)
        await source.aclose()
        raise
    session.end(begun, answered(parts, response))
    for part in held:
        yield part


def _ends(asked: StreamedRequest, part: Any) -> bool:
    return isinstance(part, Mapping) and asked.is_end(part)  # pyright: ignore[reportUnknownArgumentType]  # JSON


def _rebuilt(asked: StreamedRequest, answer: Answer) -> tuple[Any, Iterator[Any]]:
    """Return a stream, and the events that it is to hand out."""
    kind = get_args(asked.stream_class)[0]
    response = response_of(asked.client, answer)
    stream = asked.stream_class(cast_to=kind, response=response, client=asked.client)
    make = asked.client._process_response_data  # noqa: SLF001 - what a stream itself makes its events by
    return stream, (make(data=part, cast_to=kind, response=response) for part in answer.data)


async def _asynchronous(events: Iterator[Any]) -> AsyncIterator[Any]:
    for event in events:
        yield event
