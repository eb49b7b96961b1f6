"""What a branch is called before its ordinal: the qualified name of the function it runs."""

from __future__ import annotations

from contextvars import Context
from functools import partial
from threading import Thread
from typing import Any

__all__ = ["label_of", "thread_label"]


def label_of(function: object, args: tuple[Any, ...] = ()) -> str:
    """Return the label of a function, coroutine or other callable that is called with `args`.

    Partials and `Context.run` are looked through: they say how a function is called, not which.
    """
    while True:
        if isinstance(function, partial):
            args = (*function.args, *args)
            function = function.func
        elif args and isinstance(getattr(function, "__self__", None), Context):
            function, args = args[0], args[1:]
        else:
            break
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def thread_label(thread: Thread) -> str:
    """Return the label of a thread: its target's, or its class where it has none."""
    target = getattr(thread, "_target", None)
    return type(thread).__qualname__ if target is None else label_of(target, getattr(thread, "_args", ()))
