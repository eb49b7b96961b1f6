"""What the record says is to be done about each call, by the rules that a resumed program follows.

The agent has the same rules in its core, which this layer does not know: tests hold the two against each other on
random programs.

    try 0  started, the process died        a try that succeeded speaks for its call, whatever came later;
    try 1  started, failed                  else the last try speaks
    try 2  started
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from livespan.proto.ids import ROOT_SCOPE
from livespan.proto.record import Record
from livespan.recovery.opening import error_nodes
from livespan.recovery.planner.tries import Try

__all__ = ["Verdict", "Verdicts"]


class Verdict(Enum):
    """What is done when the call is asked for again: answered from the record, run, or nobody can say."""

    ANSWER = auto()
    AGAIN = auto()
    DOUBT = auto()


class Verdicts:
    """The verdicts on one run.

    Args:
        tries: in the order of their first records.
        ends: the records of the root's ends; those by an error count.
    """

    def __init__(self, tries: Iterable[Try], ends: Iterable[Record]) -> None:
        self._speaking: dict[str, Try] = {}
        self._again: set[bytes] = set()
        self._windows: list[tuple[int, int]] = []
        calls = [one for one in tries if not one.is_scope]
        for one in calls:
            before = self._speaking.get(one.key, one)
            self._speaking[one.key] = max(before, one, key=lambda each: (each.answered, each.number))
        for end in ends:
            if end.failed:
                self._read_end(frozenset(error_nodes(end)), end.log_seq, calls)

    def speaking(self, one: Try) -> Try:
        """Return the try that speaks for the call of this one."""
        return self._speaking[one.key]

    def on(self, one: Try) -> Verdict:
        """Return the verdict on a try, as if it spoke for its call."""
        if one.conflict:
            return Verdict.DOUBT
        if one.answered:
            return Verdict.ANSWER
        if one.settled == "not_done":
            return Verdict.AGAIN
        if one.status == "FAILED" and not one.retried and one.node_id not in self._again:
            return Verdict.ANSWER
        return Verdict.DOUBT if one.effect and not one.not_done else Verdict.AGAIN

    def is_optional(self, one: Try) -> bool:
        """Return whether it came between an error and the run's end by it: a better answer may make it needless."""
        return any(first < one.order < last for first, last in self._windows)

    def answered_around(self, scope: str) -> Try | None:
        """Return the call that a scope lies inside of and that is answered, so that nobody enters the scope again."""
        seen: set[str] = set()
        while scope not in seen:
            seen.add(scope)
            call = self._speaking.get(scope[1:].partition("/")[0])
            if call is None:
                return None
            verdict = self.on(call)
            if verdict is not Verdict.AGAIN:
                return call if verdict is Verdict.ANSWER else None
            scope = call.scope
        return None

    def _read_end(self, nodes: frozenset[bytes], order: int, calls: Sequence[Try]) -> None:
        """Note whose error ended a life: such a call is asked again, unless the program started effects on its way out
        and so has acted on the error.
        """
        failed = [one for one in calls if one.node_id in nodes and one.ended_order]
        if not failed:
            return
        first = min(one.ended_order for one in failed)
        on_the_way_out = [one for one in calls if one.effect and first < one.order < order]
        if on_the_way_out:
            begun_before = {one.scope for one in calls if one.order < first}
            handlers = {path for one in failed for path in self._outward(one.scope)}
            if any(one.scope in handlers or one.scope not in begun_before for one in on_the_way_out):
                return
        self._again.update(nodes)
        self._windows.append((first, order))

    def _outward(self, path: str) -> list[str]:
        """Return a scope and those around it, out to the run's."""
        paths = [path]
        while path != ROOT_SCOPE:
            cut = path.rfind("/")
            if cut <= 0:
                call = self._speaking.get(path[1:])
                path = call.scope if call is not None and call.scope not in paths else ROOT_SCOPE
            else:
                path = path[:cut]
            paths.append(path)
        return paths
