"""A checkpoint's place in the program: what the program had asked for when it was taken.

The place in the log does not say it. A life that goes over recorded calls again takes its checkpoints again, and these
stand in the log behind calls that the program makes after them. So a checkpoint stores, beside how many children of
each name its scope had started:

    "/", "/~worker.0"    by scope (its own and those below it that were entered): the place in the log of the first
                         recorded call there that the program had not asked for
    "#"                  up to where the record of earlier lives went; what stands behind is this life's own

Both are missing where nothing was left: then what ended before the checkpoint came before it. A scope is sequential
(tasks and threads are scopes of their own), so what it had asked for is all that stands before the first it had not.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["UP_TO", "Place", "child_number"]

UP_TO = "#"


class Place:
    """What of a record lies before one checkpoint.

    Args:
        path: of the checkpoint's scope.
        order: place of the checkpoint in the run's log.
        stored: what it stored.
    """

    __slots__ = ("_below", "_order", "_stored", "_up_to", "path")

    def __init__(self, path: str, order: int, stored: Mapping[str, int]) -> None:
        self.path = path
        self._order = order
        self._stored = stored
        self._up_to = stored.get(UP_TO, 0)
        self._below = path if path.endswith("/") else path + "/"

    def reaches(self, scope: str) -> bool:
        """Return whether a scope is the checkpoint's own, or below it and was entered by then."""
        if scope == self.path:
            return True
        if not scope.startswith(self._below):
            return False
        if not self._up_to:
            return True
        segment = scope[len(self._below) :].partition("/")[0]
        base, number = child_number(segment)
        return number < self._stored.get(base, 0)

    def is_before(self, scope: str, order: int) -> bool:
        """Return whether what stands at `order` in a scope that this reaches was asked for before the checkpoint."""
        if order >= self._order:
            return False
        first_left = self._stored.get(scope, 0)
        return not first_left or not first_left <= order <= self._up_to


def child_number(segment: str) -> tuple[str, int]:
    """Return under which name a scope counts a child, and its number; see scope.py for how segments look."""
    if segment.startswith("@"):
        base, _, number = segment.partition("#")
        return base, int(number or 0)
    base, _, number = segment.rpartition(".")
    return base, int(number) if number.isdigit() else 0
