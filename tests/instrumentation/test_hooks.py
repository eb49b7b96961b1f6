"""Methods that are replaced wherever a class or its subclasses define them, and put back."""

from __future__ import annotations

from collections.abc import Callable

from livespan.instrumentation.frameworks.hooks import Hooks


class Base:
    seen: str = ""

    def __init_subclass__(cls, seen: str = "") -> None:
        cls.seen = seen

    def ask(self) -> str:
        return "base"


class Child(Base, seen="child"):
    def ask(self) -> str:
        return f"child of {super().ask()}"


class Silent(Child):
    """Defines nothing."""


def loud(original: Callable[[Base], str]) -> Callable[[Base], str]:
    return lambda self: f"<{original(self)}>"


def test_a_method_is_replaced_where_it_is_defined_and_in_classes_that_come_later() -> None:
    hooks = Hooks()
    hooks.replace_in_all(Base, "ask", loud)

    class Later(Child, seen="later"):
        def ask(self) -> str:
            return "later"

    assert (Base().ask(), Child().ask(), Silent().ask()) == ("<base>", "<child of <base>>", "<child of <base>>")
    assert (Later().ask(), Later.seen) == ("<later>", "later")
    hooks.take_out()
    assert (Base().ask(), Child().ask(), Later().ask()) == ("base", "child of base", "later")

    class Last(Base, seen="last"):
        def ask(self) -> str:
            return "last"

    assert (Last().ask(), Last.seen) == ("last", "last")
