"""Which scope the running code is in: a context variable, corrected where it tells the parent's.

`executor.submit(copy_context().run, f)`, as `asyncio.to_thread` and many frameworks do it, carries
the submitter's scope into the worker thread, past the branch that the worker was given. So the
branch is noted beside the context, with the thread (or with the task, where the program gave it a
context of its own), and counts where the context still tells the scope that started it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from livespan.instrumentation.core.scope import Scope
from livespan.proto.errors import Stop

__all__ = [
    "CURRENT",
    "THREAD",
    "Hint",
    "branch",
    "current",
    "ended",
    "entered",
    "hint",
    "hint_task",
    "resolve",
]

CURRENT: Final[ContextVar[Scope | None]] = ContextVar("livespan_scope", default=None)
"""The scope as the context tells it. To read it, use `current`."""


class Hint(NamedTuple):
    """The branch that a thread's work or a task was given, and what its starter's context told.

    A starter whose own scope was a hint has told another scope than the one that it was in.
    """

    branch: Scope
    told: Scope

    def correct(self, scope: Scope) -> Scope:
        """Return the branch where a context tells the scope of its start, else that scope."""
        return self.branch if scope is self.told or scope is self.branch.parent else scope


class _Thread(threading.local):
    hint: Hint | None = None


THREAD: Final = _Thread()
"""What the running thread's work was given."""
_TASKS: Final[WeakKeyDictionary[asyncio.Future[Any], Hint]] = WeakKeyDictionary()


def current() -> Scope | None:
    """Return the scope of the running code, or None outside of runs."""
    scope = CURRENT.get()
    return scope if scope is None or not scope.hinted else resolve(scope)


def resolve(scope: Scope) -> Scope:
    """Return the scope of the running code where its context tells `scope`."""
    if THREAD.hint is not None:
        scope = THREAD.hint.correct(scope)
    if _TASKS:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return scope
        given = _TASKS.get(task) if task is not None else None
        if given is not None:
            scope = given.correct(scope)
    return scope


def hint(given: Scope, told: Scope | None) -> Hint:
    """Return the hint for a branch that is being started; from now on `current` looks for it."""
    told = told or given.parent or given
    told.hinted = True
    if given.parent is not None:
        given.parent.hinted = True
    return Hint(given, told)


def hint_task(task: asyncio.Future[Any], given: Hint) -> None:
    """Note the branch of a task whose context cannot tell it."""
    with suppress(TypeError):  # a task factory may make tasks that cannot be referred to weakly
        _TASKS[task] = given


@contextmanager
def entered(scope: Scope) -> Generator[Scope]:
    """Make `scope` the current one for a block."""
    token = CURRENT.set(scope)
    try:
        yield scope
    finally:
        CURRENT.reset(token)


@contextmanager
def branch(name: str) -> Generator[Scope | None]:
    """Name a branch by hand: what the block calls lies under `/@name` of the scope around it.

    At the start of a task or thread it takes the place of the ordinal, so that those may be started
    in any order. Branches that one scope has at the same time must differ in name.
    """
    around = current()
    if around is None:
        yield None
        return
    automatic = around.parent is not None and around.path.rpartition("/")[2].startswith("~")
    if automatic and around.untouched and around.parent is not None:
        around = around.parent
    scope = around.by_hand(name)
    try:
        with entered(scope):
            yield scope
    except BaseException as error:
        if scope.on_end is not None:
            scope.on_end(scope, error)
        raise
    if scope.on_end is not None:
        scope.on_end(scope, None)


def ended(scope: Scope, error: BaseException | None) -> None:
    """Tell that a branch has ended.

    A Stop that its end raises is sticky and comes up where the run goes on; here nobody could take
    it.
    """
    if scope.on_end is not None:
        with suppress(Stop):
            scope.on_end(scope, error)
