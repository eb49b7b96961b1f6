"""Lines that a process prints to stderr once, however often there is cause: what was dropped, and why; what is better
declared otherwise.

What is said once per run, or by whoever makes a thing once (a home, a run that opens by itself), is printed there.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from livespan.proto.errors import LivespanError, SpoolFull

__all__ = ["drop_reason", "say_dropped", "say_once"]

_MAX_SAID: Final = 1000
"""Names of tools may be made up without end; what is remembered of them, and printed, is not."""
_said: Final[dict[tuple[str, str], object]] = {}


def say_once(about: str, of: str, line: str) -> None:
    """Print a line unless this process has printed one about that already."""
    mine = object()
    # One step of the interpreter: of two threads, and of a signal handler and what it interrupts, one prints.
    if len(_said) < _MAX_SAID and _said.setdefault((about, of), mine) is mine:
        print(f"livespan: {line}", file=sys.stderr)


def drop_reason(error: Exception) -> str:
    """Return the word under which a drop is counted: the spool's own reason, else the error's name."""
    return (isinstance(error, SpoolFull) and error.reason) or type(error).__name__


def say_dropped(what: str, error: Exception) -> None:
    """Say, once for each reason, that something is dropped, where, and what to do about it.

    Args:
        what: what is dropped and what follows from it, as the beginning of a sentence.
    """
    line = f"{what}: {type(error).__name__}: {error}"
    if isinstance(error, LivespanError):
        where = f"{error.subject}: " if error.subject else ""
        line = f"{what}: {where}{error.message}. {error.hint}"
    say_once(what, drop_reason(error), " ".join(line.split()))


os.register_at_fork(after_in_child=_said.clear)
