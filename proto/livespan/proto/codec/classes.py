"""A class as text, `module:qualname`, and back. A parametrised pydantic model is `[text of the
generic, text of each argument]`.

A class is named only if its name leads back to this very class: one made inside a function, or
hidden behind another of the same name, has no name that a later life could use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, TypeAlias, cast

from livespan.proto.errors import Unrecordable

__all__ = ["ClassName", "class_called", "name_of_class", "pretty_name"]

ClassName: TypeAlias = "str | list[ClassName]"

_names: dict[type, ClassName] = {}


def pretty_name(class_: type) -> str:
    """Return the dotted name of a class for messages; of built-ins the bare name."""
    module = class_.__module__
    return class_.__qualname__ if module == "builtins" else f"{module}.{class_.__qualname__}"


def name_of_class(class_: type) -> ClassName | None:
    """Return the name by which `class_called` finds this class, or None where there is none."""
    name = _names.get(class_)
    if name is None:
        name = _derive(class_)
        # Only a class that its module holds is kept here, so this grows with the program's text and
        # not with its run.
        if name is not None:
            _names[class_] = name
    return name


def class_called(name: object) -> type:
    """Return the class of a name, importing its module.

    Raises:
        Unrecordable: it cannot be found in this program.
    """
    if isinstance(name, list):
        return _parametrised(cast("list[object]", name))
    if not isinstance(name, str):
        raise _lost(repr(name))
    module, _, qualname = name.partition(":")
    try:
        found: object = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise _lost(name) from error
    if not isinstance(found, type):
        raise _lost(name)
    return found


def _parametrised(parts: list[object]) -> type:
    if len(parts) < 2:
        raise _lost(repr(parts))
    origin: Any = class_called(parts[0])
    found: object = origin[tuple(class_called(part) for part in parts[1:])]
    if not isinstance(found, type):
        raise _lost(repr(parts))
    return found


def _derive(class_: type) -> ClassName | None:
    generic: Any = getattr(class_, "__pydantic_generic_metadata__", None)
    if generic and generic["origin"] is not None:
        names = [
            name_of_class(part) if isinstance(part, type) else None for part in (generic["origin"], *generic["args"])
        ]
        held = [name for name in names if name is not None]
        return held if len(held) == len(names) else None
    # A spawned child sees the main module under a second name; the parent knows it by the first
    # alone.
    module = "__main__" if class_.__module__ == "__mp_main__" else class_.__module__
    found: object = sys.modules.get(module)
    for part in class_.__qualname__.split("."):
        found = getattr(found, part, None)
    return f"{module}:{class_.__qualname__}" if found is class_ else None


def _lost(name: str) -> Unrecordable:
    return Unrecordable(
        f"the record holds a value of the class {name}, which this program does not have",
        hint="Bring the class back under this name, or start a new run.",
    )
