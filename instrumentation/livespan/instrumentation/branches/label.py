"""What a branch is called before its ordinal: the qualified name of the function it runs."""

from __future__ import annotations

from contextvars import Context
from functools import partial
from threading import Thread
from typing import Any, Final

__all__ = ["label_of", "thread_label"]

_OTEL_THREADS: Final = "opentelemetry.instrumentation.threading"


def label_of(function: object, args: tuple[Any, ...] = ()) -> str:
    """Return the label of a function, coroutine or other callable that is called with `args`.

    Partials, `Context.run` and what OpenTelemetry puts around the work of a pool are looked through: they say how a
    function is called, not which.
    """
    while True:
        if isinstance(function, partial):
            args = (*function.args, *args)
            function = function.func
        elif args and isinstance(getattr(function, "__self__", None), Context):
            function, args = args[0], args[1:]
        elif getattr(function, "__module__", "") == _OTEL_THREADS:
            wrapped = _wrapped_by_otel(function)
            if wrapped is None:
                break
            function = wrapped
        else:
            break
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def thread_label(thread: Thread) -> str:
    """Return the label of a thread: its target's, or its class where it has none."""
    target = getattr(thread, "_target", None)
    return type(thread).__qualname__ if target is None else label_of(target, getattr(thread, "_args", ()))


def _wrapped_by_otel(function: Any) -> object | None:
    """Return the function that a closure of OpenTelemetry's ThreadingInstrumentor calls, None where it is not found."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    held = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    cell = held.get("original_func")
    return None if cell is None else cell.cell_contents
