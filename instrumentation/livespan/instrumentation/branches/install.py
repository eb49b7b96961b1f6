"""Hooking Python's ways to start something, once per process.

The hooks do nothing where no scope is active, so they may stay for good; taking them out is for
tests.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread
from typing import Any, Final

from livespan.instrumentation.branches import forks
from livespan.instrumentation.branches.tasks import branching_create_task, branching_threadsafe
from livespan.instrumentation.branches.threads import branching_start, branching_submit

__all__ = ["install", "uninstall"]

_HOOKS: Final[tuple[tuple[Any, str, Callable[[Any], Any]], ...]] = (
    (asyncio.BaseEventLoop, "create_task", branching_create_task),
    (asyncio, "run_coroutine_threadsafe", branching_threadsafe),
    (asyncio.tasks, "run_coroutine_threadsafe", branching_threadsafe),
    (Thread, "start", branching_start),
    (ThreadPoolExecutor, "submit", branching_submit),
)
_LOCK: Final = Lock()
_ORIGINALS: Final[list[tuple[Any, str, Any]]] = []
_FORKS: Final[list[bool]] = []
"""Not empty once the fork hooks are registered: Python cannot take them back."""


def install() -> None:
    """Hook everything; a second call does nothing."""
    with _LOCK:
        if _ORIGINALS:
            return
        for owner, name, hook in _HOOKS:
            original = getattr(owner, name)
            _ORIGINALS.append((owner, name, original))
            setattr(owner, name, hook(original))
        if not _FORKS:
            _FORKS.append(True)
            os.register_at_fork(
                before=forks.before,
                after_in_child=forks.after_in_child,
                after_in_parent=forks.after_in_parent,
            )


def uninstall() -> None:
    """Put back what `install` found. Hooks that others have set since are lost."""
    with _LOCK:
        while _ORIGINALS:
            owner, name, original = _ORIGINALS.pop()
            setattr(owner, name, original)
