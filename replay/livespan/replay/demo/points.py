"""Named points at which an agent's process waits, so that another process can kill or freeze it exactly there.

agent:   reach("inside") ─▶ writes MARKS/inside, waits for MARKS/inside.go
parent:  waits for MARKS/inside ─▶ SIGKILL, or SIGSTOP ... SIGCONT and MARKS/inside.go
"""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = ["Point", "Points"]

_LOOK_S: Final = 0.005
_LIMIT_S: Final = 120.0


class Point(StrEnum):
    """Where a life may be held."""

    NOWHERE = "never"
    ANSWER = "answer"
    """In a model call: the answer has arrived whole, and its record is not spooled yet."""
    BEFORE = "before"
    """The model has asked for the charge; charge_card is not begun."""
    PERMISSION = "permission"
    """In charge_card, its own look at the lease behind it, the collector not asked yet."""
    INSIDE = "inside"
    """In charge_card: the ledger has the line, the tool has not returned."""
    AFTER = "after"
    """charge_card has returned to the agent."""


class Points:
    """The points of one life.

    Args:
        folder: where its marks are; this life's alone.
        hold_at: the one point at which it waits; it passes all others.
    """

    def __init__(self, folder: Path, hold_at: Point) -> None:
        self._folder = folder
        self._hold_at = hold_at

    def reach(self, point: Point) -> None:
        """Say that the point is reached and wait until the parent lets go, where this is the point to wait at."""
        if point is not self._hold_at:
            return
        (self._folder / point.value).touch()
        deadline = time.monotonic() + _LIMIT_S
        while not self._go(point).exists() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def is_reached(self) -> bool:
        """Return whether the life waits at its point, or did."""
        return (self._folder / self._hold_at.value).exists()

    def let_go(self) -> None:
        """Let it go on."""
        self._go(self._hold_at).touch()

    def _go(self, point: Point) -> Path:
        return self._folder / f"{point.value}.go"
