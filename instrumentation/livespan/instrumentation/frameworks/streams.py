"""Model answers that come in parts, recorded part by part.

    model ─▶ part 1 ─▶ part 2 ─▶ ... ─▶ part n ─▶ (end)
                  └ handed on when part 2 is here    └ all are recorded, then part n is handed on

One part is held back, so that whoever has the last one has an answer that is recorded; from the record the same parts
come again. A stream that its reader leaves has no answer: the next life asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar, cast

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, Request
from livespan.instrumentation.core import Scope
from livespan.instrumentation.session import Session

__all__ = ["StreamedCall", "arecorded_parts", "recorded_parts"]

_T = TypeVar("_T")


class StreamedCall(NamedTuple):
    """A call that is to be begun when its first part is asked for. The result that its codec holds is the list of all
    parts.
    """

    session: Session
    scope: Scope
    site: CallSite
    request: Request


def recorded_parts(call: StreamedCall, start: Callable[[], Iterator[_T]]) -> Iterator[_T]:
    """Yield the parts of an answer, from the record or, recording them, from the iterator that `start` returns."""
    begun = call.session.begin(call.scope, call.site, call.request)
    if isinstance(begun, Answered):
        yield from cast("list[_T]", begun.value)
        return
    inside = begun.live.inside
    parts: list[_T] = []
    try:
        # Only while the model is asked: between two parts the code that runs is the reader's.
        with entered(inside):
            source = start()
        while True:
            with entered(inside):
                part = next(source, _END)
            if part is _END:
                break
            if parts:
                yield parts[-1]
            parts.append(cast("_T", part))
    except BaseException as error:
        call.session.fail(begun, error)
        raise
    call.session.end(begun, parts)
    if parts:
        yield parts[-1]


async def arecorded_parts(call: StreamedCall, start: Callable[[], Awaitable[AsyncIterator[_T]]]) -> AsyncIterator[_T]:
    """As `recorded_parts`, of an asynchronous iterator."""
    begun = call.session.begin(call.scope, call.site, call.request)
    if isinstance(begun, Answered):
        for recorded in cast("list[_T]", begun.value):
            yield recorded
        return
    inside = begun.live.inside
    parts: list[_T] = []
    try:
        with entered(inside):
            source = await start()
        while True:
            with entered(inside):
                part = await anext(source, _END)
            if part is _END:
                break
            if parts:
                yield parts[-1]
            parts.append(cast("_T", part))
    except BaseException as error:
        call.session.fail(begun, error)
        raise
    call.session.end(begun, parts)
    if parts:
        yield parts[-1]


class _End:
    """No part: the iterator has ended."""


_END = _End()
