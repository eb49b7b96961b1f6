"""What is said, once, of a tool or step that makes calls of its own without being declared as what does."""

from __future__ import annotations

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.said_once import say_once

__all__ = ["say_composite"]


def say_composite(outer: CallSite, inner: CallSite) -> None:
    """Say that `outer`, around a call of `inner`, is better declared a scope."""
    name, kind = outer.name, outer.kind.value
    after = "all of it is in doubt" if outer.effect else "all of its own code runs again"
    say_once(
        f"composite {kind}",
        name,
        f"{kind} {name} calls {inner.name} and is recorded as one call around it: after a crash inside it {after}. "
        f"Declare it {outer.as_scope}, and it is entered in every life and what it calls is answered.",
    )
