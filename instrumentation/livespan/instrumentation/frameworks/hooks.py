"""Functions of other packages, replaced and put back. What stands in their place is in the files beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Hooks"]


class Hooks:
    """What one instrumentation has replaced, so that it can be put back in the reverse order."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in the place of a class's or module's attribute.

        Raises:
            AttributeError: the owner itself, not a base of it, has no such attribute.
        """
        original: Any = owner.__dict__.get(name)
        if original is None:
            raise AttributeError(f"{owner!r} has no {name}")
        setattr(owner, name, make(original))
        self._replaced.append((owner, name, original))

    def take_out(self) -> None:
        """Put everything back. Replacements that others have made since are lost."""
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)
