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

from collections.abc import Iterable, Mapping
from typing import Final

from livespan.instrumentation.core.history import History, Recorded, Verdict
from livespan.instrumentation.core.place import Place, child_number
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

    __slots__ = (
        "_doubts",
        "_insides",
        "_last_order",
        "_left",
        "_recorded",
        "_unfinished",
        "history",
        "issued",
        "known",
    )

    def __init__(self, history: History) -> None:
        self.history = history
        self.known: set[str] = set()
        self.issued: set[str] = set()
        self._doubts: dict[CallKey, Recorded] = {}
        self._left: dict[str, dict[CallKey, Recorded]] = {}
        self._insides: dict[CallKey, list[str]] = {}
        self._recorded: dict[str, list[Recorded]] | None = None
        self._last_order: int | None = None
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
        self._unfinished = list(left)
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

    def claim_before(self, place: Place, order: int) -> None:
        """Take what lies before a checkpoint in its scope and in those below it, and ended before `order`.

        What was under way then stays an answer to who asks, but need not be asked for. Doubt waits
        for who asks, or for the end of the run.
        """
        for name, left in self._left.items():
            if not place.reaches(name) and not (place.path == ROOT_SCOPE and self._inside_a_call(name)):
                continue
            for recorded in list(left.values()):
                if not place.is_before(name, recorded.order):
                    continue
                if self.in_doubt(recorded):
                    left.pop(recorded.key, None)
                    self._doubts[recorded.key] = recorded
                elif 0 < recorded.ended_order < order:
                    self.claim(recorded)
                    self.claim_inside(recorded.key)
                else:
                    left.pop(recorded.key, None)

    def recorded(self, path: str) -> list[Recorded]:
        """Return what the record holds of a scope, claimed or not, in log order."""
        if self._recorded is None:
            found: dict[str, list[Recorded]] = {}
            for recorded in sorted(self.history.calls.values(), key=lambda r: r.order):
                found.setdefault(recorded.scope, []).append(recorded)
            self._recorded = found
        return self._recorded.get(path, [])

    @property
    def last_order(self) -> int:
        """The place in the log of the newest call that earlier lives recorded; 0 where there is none."""
        if self._last_order is None:
            self._last_order = max((recorded.order for recorded in self.history.calls.values()), default=0)
        return self._last_order

    def first_left_below(self, path: str, started: Mapping[str, int]) -> dict[str, int]:
        """Return, by scope below `path`, the place of the first call that is left in it.

        Args:
            path: of a scope.
            started: how many children of each name it has started: what lies in others is not asked for yet.
        """
        below = path if path == ROOT_SCOPE else path + "/"
        found: dict[str, int] = {}
        # What is left only ever gets less, so a checkpoint at the frontier looks at nothing.
        self._unfinished = [name for name in self._unfinished if self._left[name]]
        for name in self._unfinished:
            if name != path and name.startswith(below) and not self._inside_a_call(name):
                base, number = child_number(name[len(below) :].partition("/")[0])
                orders = [recorded.order for recorded in list(self._left[name].values())]
                if number < started.get(base, 0) and orders:
                    found[name] = min(orders)
        return found

    def _inside_a_call(self, path: str) -> bool:
        return CallKey(path[1:].partition("/")[0]) in self.history.calls

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
