"""Every error that Livespan raises, and what each kind means at a border.

    LivespanError(Exception)          kind         gRPC                 HTTP  exit
    ├── InvalidInput                  invalid      INVALID_ARGUMENT     400   2
    ├── Unrecordable                  invalid
    ├── NotFound                      not_found    NOT_FOUND            404   3
    ├── Unavailable                   unavailable  UNAVAILABLE          503   4
    │   ├── SpoolFull
    │   ├── CollectorMissing
    │   └── Unauthenticated       unauthenticated  UNAUTHENTICATED   401   4
    ├── Conflict                      conflict     FAILED_PRECONDITION  409   5
    │   ├── RunHeld
    │   ├── RunFinished
    │   ├── RunCancelled
    │   └── HomeHeld
    ├── Damaged                       damaged      DATA_LOSS            500   6
    ├── RunStopped                    (that of its cause)
    ├── RecordedError                 internal: an error of an earlier life whose type cannot be made again
    ├── Closed                        closed       CANCELLED            503   4
    └── Internal                      internal     INTERNAL             500   1

    Stop(BaseException)               never swallowed by a framework's `except Exception`; sticky in its run
    ├── InDoubt                       conflict     FAILED_PRECONDITION  409   5
    ├── Divergence                    diverged     ABORTED              409   6
    ├── LeaseLost                     conflict     ABORTED              409   5
    ├── Cancelled                     conflict     FAILED_PRECONDITION  409   5
    └── EffectUnavailable             unavailable  UNAVAILABLE          503   4

An error says what happened (message), to what (subject: a run, node, path or offset) and what to do (hint). It is
raised, or counted at a border; it is never logged and forgotten.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = [
    "EXIT_CODES",
    "GRPC_STATUS",
    "HTTP_STATUS",
    "Cancelled",
    "Closed",
    "CollectorMissing",
    "Conflict",
    "Damaged",
    "Divergence",
    "EffectUnavailable",
    "ErrorKind",
    "HomeHeld",
    "InDoubt",
    "Internal",
    "InvalidInput",
    "LeaseLost",
    "LivespanError",
    "NotFound",
    "RecordedError",
    "RunCancelled",
    "RunFinished",
    "RunHeld",
    "RunStopped",
    "SpoolFull",
    "Stop",
    "Unauthenticated",
    "Unavailable",
    "Unrecordable",
]


class ErrorKind(StrEnum):
    """What sort of thing went wrong, and so what a caller can do about it."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    UNAUTHENTICATED = "unauthenticated"
    CONFLICT = "conflict"
    DAMAGED = "damaged"
    DIVERGED = "diverged"
    CLOSED = "closed"
    INTERNAL = "internal"


GRPC_STATUS: Final[dict[ErrorKind, str]] = {
    ErrorKind.INVALID: "INVALID_ARGUMENT",
    ErrorKind.NOT_FOUND: "NOT_FOUND",
    ErrorKind.UNAVAILABLE: "UNAVAILABLE",
    ErrorKind.UNAUTHENTICATED: "UNAUTHENTICATED",
    ErrorKind.CONFLICT: "FAILED_PRECONDITION",
    ErrorKind.DAMAGED: "DATA_LOSS",
    ErrorKind.DIVERGED: "ABORTED",
    ErrorKind.CLOSED: "CANCELLED",
    ErrorKind.INTERNAL: "INTERNAL",
}
HTTP_STATUS: Final[dict[ErrorKind, int]] = {
    ErrorKind.INVALID: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.CONFLICT: 409,
    ErrorKind.DAMAGED: 500,
    ErrorKind.DIVERGED: 409,
    ErrorKind.CLOSED: 503,
    ErrorKind.INTERNAL: 500,
}
EXIT_CODES: Final[dict[ErrorKind, int]] = {
    ErrorKind.INVALID: 2,
    ErrorKind.NOT_FOUND: 3,
    ErrorKind.UNAVAILABLE: 4,
    ErrorKind.UNAUTHENTICATED: 4,
    ErrorKind.CONFLICT: 5,
    ErrorKind.DAMAGED: 6,
    ErrorKind.DIVERGED: 6,
    ErrorKind.CLOSED: 4,
    ErrorKind.INTERNAL: 1,
}


def _render(message: str, subject: str, hint: str) -> str:
    text = f"{subject}: {message}" if subject else message
    return f"{text}\n  {hint}" if hint else text


class LivespanError(Exception):
    """The root of the errors that may be caught and handled.

    Args:
        message: what happened, one sentence.
        subject: what it happened to: a run, node, path, or path@offset.
        hint: what to do about it: a command to paste, a setting to change.
    """

    kind: ErrorKind = ErrorKind.INTERNAL

    def __init__(self, message: str, *, subject: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.hint = hint

    def __str__(self) -> str:
        return _render(self.message, self.subject, self.hint)


class InvalidInput(LivespanError):
    """The caller gave something that cannot be right; nothing was done."""

    kind = ErrorKind.INVALID


class Unrecordable(LivespanError):
    """A value has no codec, so a record of it could not be given back as it was."""

    kind = ErrorKind.INVALID


class NotFound(LivespanError):
    """The run, node, file or home that was asked for does not exist."""

    kind = ErrorKind.NOT_FOUND


class Unavailable(LivespanError):
    """What is needed cannot be reached or has no room now; trying again later may work."""

    kind = ErrorKind.UNAVAILABLE


class SpoolFull(Unavailable):
    """The spool has had no room for a record within the budget.

    Attributes:
        reason: why, in the spool's word (`process_cap`, `disk_full`, ...); "" where nothing more is known.
    """

    def __init__(self, message: str, *, subject: str = "", hint: str = "", reason: str = "") -> None:
        super().__init__(message, subject=subject, hint=hint)
        self.reason = reason


class CollectorMissing(Unavailable):
    """A collector must be started here and its packages are not installed."""


class Unauthenticated(Unavailable):
    """The collector asks for a token that was not shown, or not the right one. Records wait in the spool for it."""

    kind = ErrorKind.UNAUTHENTICATED


class Conflict(LivespanError):
    """Something else holds or has settled what was asked for."""

    kind = ErrorKind.CONFLICT


class RunHeld(Conflict):
    """Another process runs this run; the message says which."""


class RunFinished(Conflict):
    """The run is finished, and the caller asked to be told so (`if_finished="raise"`)."""


class RunCancelled(Conflict):
    """The run was cancelled before it was done, so no life of it is begun again."""


class HomeHeld(Conflict):
    """Another collector serves this home."""


class Damaged(LivespanError):
    """Stored bytes are not what was written; the subject names file and offset."""

    kind = ErrorKind.DAMAGED


class Closed(LivespanError):
    """The component was closed before or while it was asked."""

    kind = ErrorKind.CLOSED


class Internal(LivespanError):
    """Livespan broke a rule of its own; please report it."""


class RecordedError(LivespanError):
    """Stands for an error of an earlier life whose own type cannot be made again.

    Attributes:
        type_name: the dotted name of the type that was raised.
    """

    def __init__(self, message: str, *, type_name: str = "", subject: str = "", hint: str = "") -> None:
        super().__init__(message, subject=subject, hint=hint)
        self.type_name = type_name


class Stop(BaseException):
    """What ends a run at once, past every `except Exception` of a framework.

    A Stop is sticky: once one was raised in a run, every later call of that run raises it again, and so does the
    run's end. Leaving the outermost `run()` it becomes `RunStopped`, which an `except Exception` may catch.
    """

    kind: ErrorKind = ErrorKind.CONFLICT

    def __init__(self, message: str, *, subject: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.hint = hint

    def __str__(self) -> str:
        return _render(self.message, self.subject, self.hint)


class InDoubt(Stop):
    """An effect was started and its outcome is not known."""


class Divergence(Stop):
    """The program asks for something else than what the record holds."""

    kind = ErrorKind.DIVERGED


class LeaseLost(Stop):
    """This process may not start anything in this run any more; another may have taken it over."""


class Cancelled(Stop):
    """The run was cancelled while this process ran it: it starts nothing any more."""


class EffectUnavailable(Stop):
    """The start of an effect could not be acknowledged, so the effect was not started."""

    kind = ErrorKind.UNAVAILABLE


class RunStopped(LivespanError):
    """A run ended by a `Stop`; `cause` is that stop, and kind and hint are its own."""

    def __init__(self, cause: Stop) -> None:
        super().__init__(cause.message, subject=cause.subject, hint=cause.hint)
        self.kind = cause.kind
        self.cause = cause
