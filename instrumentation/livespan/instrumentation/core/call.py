"""What the program asks for: one call, as a value, and what its tool has said about being started
and not finished.

What the record holds of such a call is a `Recorded` (history.py); how both are brought together is
core.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from livespan.proto.node import NodeType

__all__ = [
    "FAIL",
    "NOT_DONE",
    "Call",
    "Fail",
    "InDoubtPolicy",
    "NotDone",
    "NotDoneType",
    "Probe",
    "Retry",
    "says_not_done",
]


class NotDone(Exception):
    """Raised by a tool: the effect did not happen, and asking again cannot do it twice."""


class NotDoneType(Enum):
    """The type of `NOT_DONE`, of which there is one value."""

    NOT_DONE = "not_done"

    def __repr__(self) -> str:
        return "NOT_DONE"


NOT_DONE: Final[Literal[NotDoneType.NOT_DONE]] = NotDoneType.NOT_DONE
"""What a probe returns where the provider knows nothing of the effect."""


def says_not_done(error: BaseException, types: Sequence[type[BaseException]] = ()) -> bool:
    """Return whether `error` says that its effect did not happen: `NotDone`, or a type of
    `not_done_on`.
    """
    return isinstance(error, (NotDone, *types))


class Fail(msgspec.Struct, frozen=True):
    """An effect in doubt stops the run until a person has settled it."""


class Retry(msgspec.Struct, frozen=True):
    """An effect in doubt is asked again under the same idempotency key, while the provider still
    knows that key.

    Attributes:
        within_s: seconds since its first try after which it is no longer asked again. Providers
            forget keys; Stripe after 24 hours.
    """

    within_s: float = 12 * 3600.0


class Probe(msgspec.Struct, frozen=True):
    """An effect in doubt is looked up first.

    Attributes:
        look: called as `look(idempotency_key, *args, **kwargs)`; returns the result that it found,
            or `NOT_DONE`. The core does not call it: that is I/O, and the caller's.
    """

    look: Callable[..., Any]


InDoubtPolicy: TypeAlias = Fail | Retry | Probe
FAIL: Final = Fail()


class Call(msgspec.Struct, frozen=True):
    """One call that the program is about to make.

    Attributes:
        kind: PROMPT, TOOL or MEMORY. A BRANCH is a scope, and is entered instead.
        name: of the tool, model or step.
        digest: of what the callee sees, hex.
        effect: it changes the world; a read may be asked again, an effect may not.
        call_id: the id under which a model asked for it, "" where none did.
        in_doubt: what to do where an earlier life started it and its outcome is not known. For
            effects alone.
    """

    kind: NodeType
    name: str
    digest: str = ""
    effect: bool = False
    call_id: str = ""
    in_doubt: InDoubtPolicy = FAIL
