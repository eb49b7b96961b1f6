"""Threads and pool work as branches: what stands in for `Thread.start` and
`ThreadPoolExecutor.submit`.

`asyncio.to_thread`, `run_in_executor` and `Executor.map` all come to `submit`. A pool starts its
worker threads inside `submit`, or does not, as timing has it: they are no branches and inherit
nothing; the work is the branch. The workers of anyio's pool are no branches either; their work,
which is handed over with its submitter's context, goes on in the submitter's scope.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import wraps
from threading import Thread
from typing import Any, TypeAlias

from livespan.instrumentation.branches.current import CURRENT, THREAD, Hint, current, ended, hint
from livespan.instrumentation.branches.label import label_of, thread_label

__all__ = ["branching_start", "branching_submit"]

_Start: TypeAlias = Callable[[Thread], None]
_Submit: TypeAlias = Callable[..., "Future[Any]"]


def branching_start(start: _Start) -> _Start:
    """Return `Thread.start`, starting branches."""

    @wraps(start)
    def start_thread(thread: Thread) -> None:
        scope = current()
        if scope is None or thread.ident is not None:
            return start(thread)
        if type(thread).__module__.startswith("anyio."):
            token = CURRENT.set(None)  # it takes work of others, too
            try:
                return start(thread)
            finally:
                CURRENT.reset(token)
        branch = scope.branch(thread_label(thread))
        given = hint(branch, CURRENT.get())
        run = thread.run

        def run_branch() -> None:
            vars(thread).pop("run", None)  # or thread and closure would keep each other
            _run_in(given, run, (), {})

        vars(thread)["run"] = run_branch
        return start(thread)

    return start_thread


def branching_submit(submit: _Submit) -> _Submit:
    """Return `submit`, starting branches."""

    @wraps(submit)
    def submit_work(executor: Executor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        scope = current()
        if scope is None:
            return submit(executor, function, *args, **kwargs)
        branch = scope.branch(label_of(function, args))
        given = hint(branch, CURRENT.get())
        token = CURRENT.set(None)  # for the worker thread that this may start
        try:
            return submit(executor, _Work(given, function), *args, **kwargs)
        finally:
            CURRENT.reset(token)

    return submit_work


class _Work:
    """A function, to be run in a branch."""

    __slots__ = ("_function", "_given")

    def __init__(self, given: Hint, function: Callable[..., Any]) -> None:
        self._given = given
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _run_in(self._given, self._function, args, kwargs)


def _run_in(given: Hint, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = CURRENT.set(given.branch)
    before, THREAD.hint = THREAD.hint, given
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        ended(given.branch, error)
        raise
    else:
        ended(given.branch, None)
        return result
    finally:
        THREAD.hint = before
        CURRENT.reset(token)
