"""Tasks as branches: what stands in for `BaseEventLoop.create_task` and `run_coroutine_threadsafe`.

`asyncio.create_task`, `gather`, `TaskGroup` and `asyncio.run` all come to `create_task`; so does
`wait_for` up to Python 3.11, but not since, so that a run which waits so has other branches there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial, wraps
from typing import Any, Final, TypeAlias

from livespan.instrumentation.branches.current import (
    CURRENT,
    current,
    ended,
    hint,
    hint_task,
    resolve,
)
from livespan.instrumentation.branches.label import label_of
from livespan.instrumentation.core.scope import Scope

__all__ = ["branching_create_task", "branching_threadsafe"]

_Create: TypeAlias = Callable[..., "asyncio.Task[Any]"]
_Threadsafe: TypeAlias = Callable[..., "concurrent.futures.Future[Any]"]

_NAMED: Final[ContextVar[Scope | None]] = ContextVar("livespan_named", default=None)
"""The branch that a coroutine was given in another thread, before the loop makes its task."""


def branching_create_task(create: _Create) -> _Create:
    """Return `create_task`, starting branches."""

    @wraps(create)
    def create_task(loop: asyncio.BaseEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        given: Context | None = kwargs.get("context")
        if given is None:
            scope = current()
        else:
            scope = given.get(CURRENT)
            scope = None if scope is None else resolve(scope)
        if scope is None:
            return create(loop, coro, **kwargs)
        branch = _NAMED.get()
        if branch is None or given is not None:
            branch = scope.branch(label_of(coro))
        if given is None and _takes_context(loop):
            context = copy_context()
            context.run(_bind, branch)
            task = create(loop, coro, **(kwargs | {"context": context}))
        else:
            # A context that the program gave may be shared on purpose, so it is not written to.
            task = create(loop, coro, **kwargs)
            hint_task(task, hint(branch, CURRENT.get() if given is None else given.get(CURRENT)))
        task.add_done_callback(partial(_done, branch))
        return task

    return create_task


def branching_threadsafe(run_threadsafe: _Threadsafe) -> _Threadsafe:
    """Return `run_coroutine_threadsafe`, naming the branch where the caller is: the loop comes
    to it in any order.
    """

    @wraps(run_threadsafe)
    def run_coroutine_threadsafe(coro: Any, loop: asyncio.AbstractEventLoop) -> concurrent.futures.Future[Any]:
        scope = current()
        if scope is None:
            return run_threadsafe(coro, loop)
        context = copy_context()
        context.run(_name, scope.branch(label_of(coro)))
        return context.run(run_threadsafe, coro, loop)

    return run_coroutine_threadsafe


def _bind(branch: Scope) -> None:
    CURRENT.set(branch)
    _NAMED.set(None)


def _name(branch: Scope) -> None:
    CURRENT.set(branch)
    _NAMED.set(branch)


def _takes_context(loop: asyncio.BaseEventLoop) -> bool:
    """Return whether tasks of the loop can be made in a context of ours; a task factory of the
    program's need not.
    """
    factory = loop.get_task_factory()
    return factory is None or factory is getattr(asyncio, "eager_task_factory", None)


def _done(branch: Scope, task: asyncio.Future[Any]) -> None:
    if task.cancelled():
        ended(branch, asyncio.CancelledError())
    else:
        # Not task.exception(): to asyncio that would mean that somebody has taken note of the
        # error.
        ended(branch, getattr(task, "_exception", None))
