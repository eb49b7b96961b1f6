"""What is needed to start a recorded command again, and why it may not be possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from livespan.proto.v1.livespan_pb2 import Attempt

__all__ = ["missing_names", "obstacle"]

_OWN: Final = frozenset({"_", "PWD", "OLDPWD", "SHLVL", "TERM", "TERM_PROGRAM", "COLUMNS", "LINES", "LS_COLORS"})
_OWN_BEGINNINGS: Final = ("LIVESPAN_", "SSH_", "TMUX", "XDG_SESSION", "VSCODE_", "GPG_", "DBUS_", "INVOCATION_ID")
"""Names that a shell, a terminal or a session sets; programs seldom mean them."""
_INTERPRETERS: Final = ("python", "pypy")
_FROM_STDIN: Final = frozenset({(), ("-",), ("-i",)})


def obstacle(attempt: Attempt) -> str:
    """Return why a life cannot be started again as it was, "" where it can."""
    argv: Sequence[str] = attempt.argv
    if not argv:
        return "nothing is recorded of how it was started"
    if _is_interpreter(argv) and tuple(argv[1:]) in _FROM_STDIN:
        return "it was typed into an interpreter, or read from its standard input"
    if "--multiprocessing-fork" in argv:
        return "a pool's process had opened it, and the pool is gone"
    if any("ipykernel" in word for word in argv):
        return "a notebook had opened it"
    if not attempt.cwd or not Path(attempt.cwd).is_dir():
        return f"its folder is gone ({attempt.cwd or 'it was gone then'})"
    if shutil.which(str(Path(attempt.cwd, argv[0])) if os.sep in argv[0] else argv[0]) is None:
        return f"its program is gone ({argv[0]})"
    if _is_interpreter(argv) and argv[1].endswith(".py") and not Path(attempt.cwd, argv[1]).exists():
        return f"its program is gone ({argv[1]})"
    return ""


def _is_interpreter(argv: Sequence[str]) -> bool:
    return Path(argv[0]).name.startswith(_INTERPRETERS)


def missing_names(attempt: Attempt, environment: Mapping[str, str]) -> list[str]:
    """Return the names that were set when the run was begun and are not now; values were never recorded."""
    return [
        name
        for name in attempt.environment
        if name not in environment and name not in _OWN and not name.startswith(_OWN_BEGINNINGS)
    ]
