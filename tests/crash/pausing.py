"""Pausing a process at a named step, so that it can be killed there from outside.

    the test     writes  PAUSES/ROLE.want    "TOKEN STEP NTH"
    the process  passes STEP for the NTH time, touches PAUSES/ROLE.TOKEN.here, and stands still
    the test     sees the mark and kills, or takes ROLE.want away, and the process goes on

The process never kills itself: what ends it is SIGKILL from another process, as in life.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["PauseHook", "PauseRequest"]

_LOOK_S = 0.002


class PauseHook:
    """The process's side: called with the name of each step as it is passed. Thread-safe enough: a mark too many is
    harmless.

    Args:
        folder: PAUSES.
        role: who is asked.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self._want = folder / f"{role}.want"
        self._role = role
        self._token = ""
        self._passed = 0

    def __call__(self, step: str) -> None:
        token, wanted, nth = self._asked()
        if wanted != step:
            return
        if token != self._token:
            self._token, self._passed = token, 0
        self._passed += 1
        if self._passed != nth:
            return
        (self._folder / f"{self._role}.{token}.here").touch()
        while self._asked()[0] == token:
            time.sleep(_LOOK_S)

    def _asked(self) -> tuple[str, str, int]:
        try:
            fields = self._want.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return "", "", 0
        return (fields[0], fields[1], int(fields[2])) if len(fields) == 3 else ("", "", 0)


class PauseRequest:
    """The test's side: asks `role` to stand still at the `nth` passing of `step` from now on."""

    def __init__(self, folder: Path, role: str, step: str, nth: int) -> None:
        token = os.urandom(4).hex()
        self._want = folder / f"{role}.want"
        self._here = folder / f"{role}.{token}.here"
        draft = folder / f"{role}.{token}.draft"
        draft.write_text(f"{token} {step} {nth}", encoding="ascii")
        draft.rename(self._want)

    @property
    def reached(self) -> bool:
        """Whether the process stands there."""
        return self._here.exists()

    def withdraw(self) -> None:
        """Let it go on, or ask no more."""
        self._want.unlink(missing_ok=True)
