"""Bounding how long the body of a call may take: `timeout_s=` of tools and steps.

A coroutine that takes too long is cancelled, as by `asyncio.timeout`. A thread cannot be stopped, so a synchronous body
runs in a thread of its own, with its caller's context, and is *left behind* there: its caller goes on with a
TimeoutError while it still runs, and what it does after that is done. It must not need its caller's thread (SQLite
connections do). Where a client has a timeout of its own, that is the better one: it ends the work.

A body that was given up may have had its effect, or have it yet: the TimeoutError is recorded as an error that says
nothing of that, unless the tool says `not_done_on=(TimeoutError,)`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import TypeVar

from livespan.proto.errors import InvalidInput

__all__ = ["abounded", "bounded", "checked_timeout"]

_T = TypeVar("_T")


def checked_timeout(timeout_s: float | None, name: str) -> float | None:
    """Return a timeout in seconds as it was given.

    Raises:
        InvalidInput: it is not greater than 0.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidInput(f"timeout_s={timeout_s!r} is no time", subject=name, hint="Give seconds: timeout_s=30.")
    return timeout_s


def bounded(body: Callable[[], _T], timeout_s: float, name: str) -> _T:
    """Return what a body returns, or raise what it raises; TimeoutError where that takes too long."""
    outcome: Future[_T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(body))
        except BaseException as error:  # noqa: BLE001 - a thread's border: whatever it is, the caller raises it
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name=f"livespan-{name}", daemon=True)
    # Started in an empty context, so that this thread of ours is no branch of the program's.
    Context().run(thread.start)
    try:
        return outcome.result(timeout_s)
    except TimeoutError:
        if outcome.done():
            return outcome.result()  # it ended just now, or raised one of its own
        raise _too_late(name, timeout_s) from None


async def abounded(body: Callable[[], Awaitable[_T]], timeout_s: float, name: str) -> _T:
    """Return what a coroutine returns; it is cancelled, and TimeoutError raised, where that takes too long."""
    bound = asyncio.timeout(timeout_s)
    try:
        async with bound:
            return await body()
    except TimeoutError:
        if not bound.expired():
            raise
        raise _too_late(name, timeout_s) from None


def _too_late(name: str, timeout_s: float) -> TimeoutError:
    return TimeoutError(f"{name} did not end within {timeout_s:g} s")
