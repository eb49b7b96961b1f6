"""What is left of the history for this life to claim, by scope, and the call ids it may act on.

A record is claimed when its call is asked for, when the call that it ran inside of is answered, or
when a restored state lies past it. A scope with nothing left is at its frontier. Doubts that no
scope must come back to (what a restored state lies past, what an error overtook) are kept beside it
for the end of the run: what may have happened concerns somebody.

No lock is needed. Every change is one operation of a built-in dict or set whose keys are strings,
which the interpreter does not interrupt; whoever reads several entries copies them first, by one
such operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from livespan.instrumentation.core.history import History, Recorded, Verdict
from livespan.proto.ids import ROOT_SCOPE, CallKey

__all__ = ["Claims"]

_NOTHING: Final[dict[CallKey, Recorded]] = {}
"""What is left in a scope that the history does not know. Only ever popped from."""


class Claims:
    """What this life still has to claim.

    Attributes:
        known: ids that a model's answer of this run issued, claimed or not: these take part in call
            keys.
        issued: those whose answer this life has seen: calls that bear them may begin.
    """

    __slots__ = ("_doubts", "_insides", "_left", "history", "issued", "known")

    def __init__(self, history: History) -> None:
        self.history = history
        self.known: set[str] = set()
        self.issued: set[str] = set()
        self._doubts: dict[CallKey, Recorded] = {}
        self._left: dict[str, dict[CallKey, Recorded]] = {}
        self._insides: dict[CallKey, list[str]] = {}
        left = self._left
        for key, recorded in history.calls.items():
            scope = left.get(recorded.scope)
            if scope is None:
                scope = left[recorded.scope] = {}
            if recorded.issued:
                self.known.update(recorded.issued)
            if not history.optional(recorded):
                scope[key] = recorded
            elif self.in_doubt(recorded):
                self._doubts[key] = recorded
        for path in left:
            top = CallKey(path[1:].partition("/")[0])
            if top in history.calls:
                self._insides.setdefault(top, []).append(path)

    def left(self, path: str) -> dict[CallKey, Recorded]:
        """Return what is left in a scope: the dict itself, from which claims take."""
        return self._left.get(path, _NOTHING)

    def issue(self, ids: Iterable[str]) -> None:
        """Let calls that bear these ids begin."""
        self.known.update(ids)
        self.issued.update(ids)

    def claim(self, recorded: Recorded) -> None:
        """Take one record. What it issued may begin."""
        self.left(recorded.scope).pop(recorded.key, None)
        if self._doubts:
            self._doubts.pop(recorded.key, None)
        if recorded.issued and recorded.answered:
            self.issue(recorded.issued)

    def claim_inside(self, key: CallKey) -> None:
        """Take what ran inside a call that is answered and so not entered. Doubt is not taken."""
        keys = [key]
        while keys:
            for path in self._insides.get(keys.pop(), ()):
                for recorded in list(self._left[path].values()):
                    if not self.in_doubt(recorded):
                        self.claim(recorded)
                        keys.append(recorded.key)

    def claim_before(self, path: str, order: int) -> None:
        """Take what ended before `order` in a scope and in those below it.

        What was under way then stays an answer to who asks, but need not be asked for. Doubt waits
        for who asks, or for the end of the run.
        """
        below = path if path == ROOT_SCOPE else path + "/"
        for name, left in self._left.items():
            if name != path and not name.startswith(below):
                continue
            for recorded in list(left.values()):
                if recorded.order >= order:
                    continue
                if self.in_doubt(recorded):
                    left.pop(recorded.key, None)
                    self._doubts[recorded.key] = recorded
                elif 0 < recorded.ended_order < order:
                    self.claim(recorded)
                    self.claim_inside(recorded.key)
                else:
                    left.pop(recorded.key, None)

    def hand_over(self, path: str) -> None:
        """Leave what a scope and those below it hold to another process: a forked child claims it there, unseen by
        us.
        """
        for name, left in self._left.items():
            if name != path and not name.startswith(path + "/"):
                continue
            for key in list(left):
                left.pop(key, None)
                self._doubts.pop(key, None)
                self.claim_inside(key)

    def owed(self, path: str, *, gap: bool) -> list[Recorded]:
        """Return what a scope must still claim, what is in doubt first, then in log order.

        Where calls ran unrecorded the program may have gone another way since; what it did to the
        world is owed all the same.
        """
        owed = [r for r in list(self.left(path).values()) if r.effect or not gap]
        return sorted(owed, key=lambda r: (not self.in_doubt(r), r.order))

    def owed_anywhere(self) -> list[Recorded]:
        """Return what the run must still claim, what is in doubt first, then in log order."""
        owed = [
            recorded
            for path, left in self._left.items()
            if left
            for recorded in self.owed(path, gap=self._in_gap(path))
        ]
        owed += self._doubts.values()
        return sorted(owed, key=lambda r: (not self.in_doubt(r), r.order))

    def in_doubt(self, recorded: Recorded) -> bool:
        """Return whether nobody knows if a recorded call, an effect, happened."""
        return self.history.verdict(recorded, effect=recorded.effect) is Verdict.DOUBT

    def _in_gap(self, path: str) -> bool:
        return any(path == gap or gap == ROOT_SCOPE or path.startswith(gap + "/") for gap in self.history.gaps)
