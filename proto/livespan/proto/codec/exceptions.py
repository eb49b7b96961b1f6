"""The kind of exceptions: an error that a program has caught comes back with the same type,
arguments and attributes.

Its own `__init__` is not run, since it may take other arguments than `args` tells. The nearest
class of the interpreter's is asked to build it (an OSError keeps its file name there, a
UnicodeError its object), and the attributes are set. An attribute that no codec holds (a
connection, a response) is left out: the type is what `except` asks for. Traceback, cause and
context stay behind.
"""

from __future__ import annotations

from typing import Any, Final

from livespan.proto.codec.kinds import Kind, held_state, restore_state

__all__ = ["EXCEPTION", "Loose"]

_HEAP_TYPE: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: not set for the classes that are built into the interpreter."""


class Loose:
    """Attributes of which those that no codec holds are left out."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes


def _builder(class_: type) -> Any:
    return next(base for base in class_.__mro__ if not base.__flags__ & _HEAP_TYPE)


def _take(value: BaseException) -> object:
    class_ = type(value)
    reduced: Any = _builder(class_).__reduce__(value)
    state: dict[str, Any] = held_state(value, class_)
    if len(reduced) > 2 and reduced[2]:
        state.update(reduced[2])
    return {"args": list(reduced[1]), "$state": Loose(state)}


def _make(class_: type, state: Any) -> object:
    builder = _builder(class_)
    args: list[Any] = state["args"]
    value = builder.__new__(class_, *args)
    builder.__init__(value, *args)
    restore_state(value, state["$state"])
    return value


EXCEPTION: Final = Kind("exception", lambda class_: issubclass(class_, BaseException), _take, _make)
