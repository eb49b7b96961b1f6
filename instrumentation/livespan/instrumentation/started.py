"""With what this process was started: enough to start it again, in the same place.

Looked at when this module is imported, which is before the program's own code can have changed its folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["STARTED", "Started", "command_line"]


@dataclass(frozen=True, slots=True)
class Started:
    """How a process was started.

    Attributes:
        argv: interpreter, its options, program and arguments.
        cwd: the folder it was started in; "" where that was removed.
    """

    argv: tuple[str, ...]
    cwd: str


def command_line(argv: Sequence[str], executable: str) -> tuple[str, ...]:
    """Return a command line with the interpreter's own path in front.

    What was typed (`python`, `.venv/bin/python`) would be looked up again in another PATH or folder, and would find
    another environment or none; `python -m`, `python -c` and console scripts are whole in the rest.
    """
    return (executable or argv[0], *argv[1:]) if argv else ()


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


STARTED: Final = Started(command_line(sys.orig_argv, sys.executable), _folder())
