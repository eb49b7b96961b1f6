"""Functions of other packages, replaced and put back. What stands in their place is in the files beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Hooks"]


class Hooks:
    """What one instrumentation has replaced, so that it can be put back in the reverse order."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []
        self._undone: list[tuple[Any, Any]] = []

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

    def replace_in_all(self, base: type, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in the place of a method wherever `base` and its subclasses, also those that are made
        later, define it themselves.
        """
        if name in base.__dict__:
            self.replace(base, name, make)
        pending: list[type] = type.__subclasses__(base)
        while pending:
            kind = pending.pop()
            pending += type.__subclasses__(kind)
            if name in kind.__dict__ and (kind, name) not in [(owner, known) for owner, known, _ in self._replaced]:
                self.replace(kind, name, make)
        owner: Any = base
        above: Any = super  # to pyright, what these two make of a class that it does not know is unknown
        bound: Any = classmethod
        inherited: Any = owner.__dict__.get("__init_subclass__")

        def subclassed(cls: Any, **words: Any) -> None:
            if inherited is None:
                above(owner, cls).__init_subclass__(**words)
            else:
                inherited.__get__(None, cls)(**words)
            if name in cls.__dict__:
                self.replace(cls, name, make)

        owner.__init_subclass__ = bound(subclassed)
        self._undone.append((owner, inherited))

    def take_out(self) -> None:
        """Put everything back. Replacements that others have made since are lost."""
        while self._undone:
            base, inherited = self._undone.pop()
            if inherited is None:
                del base.__init_subclass__
            else:
                base.__init_subclass__ = inherited
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)
