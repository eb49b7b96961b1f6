"""What earlier lives of the run recorded, and what each record says is to be done about its call.

It does not change while the run goes on; what this life has claimed of it is in claims.py. Of one
call there may be several tries:

    try 0  started, the process died        a try that succeeded speaks for its call, whatever
    try 1  started, failed                  came later (a record may arrive late); else the last
    try 2  started                          try speaks
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum, auto

import msgspec

from livespan.proto.ids import ROOT_SCOPE, CallKey, NodeId
from livespan.proto.node import NodeType

__all__ = ["History", "Outcome", "Recorded", "RunEnd", "Settlement", "Verdict"]


class Outcome(StrEnum):
    """How a try ended, as far as its records say."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Ended from outside: CancelledError, KeyboardInterrupt, GeneratorExit.

    It says nothing of the call itself, and whoever cancelled it will again if it is still wanted.
    """


class Settlement(StrEnum):
    """How doubt about an effect was settled."""

    DONE = "done"
    NOT_DONE = "not_done"


class Verdict(Enum):
    """What the record of a call says is to be done when it is asked for again."""

    ANSWER = auto()
    AGAIN = auto()
    DOUBT = auto()


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a call, folded from its records.

    Attributes:
        key, node_id: of the call, of this try.
        scope: path of the scope in which it was made.
        call_id: the id under which a model asked for it, whether it took part in the key or not.
        order: place of its first record in the run's log, from 1.
        ended_order: place of its end, or of its settlement where that is later; 0 while it has
            neither.
        started_ns, ended_ns: wall time; 0 = unknown.
        not_done: its error said that the effect did not happen.
        conflict: it was settled one way and an end that arrived later says another.
        retry_after_s: it failed and its policy asks again, so long after `ended_ns`; the program never saw its error.
            None: its outcome, whatever it is, is the call's.
        unrecordable: it succeeded, and its result could not be recorded.
        issued: ids of the calls that its answer, a model's, asked for.
        output, error: whatever the caller needs to give the outcome back; the core hands them on
            unread.
    """

    key: CallKey
    node_id: NodeId
    kind: NodeType
    name: str
    scope: str = ROOT_SCOPE
    digest: str = ""
    call_id: str = ""
    occurrence: int = 0
    try_number: int = 0
    effect: bool = False
    outcome: Outcome = Outcome.STARTED
    settled: Settlement | None = None
    not_done: bool = False
    conflict: bool = False
    unrecordable: bool = False
    retry_after_s: float | None = None
    order: int = 0
    ended_order: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    issued: tuple[str, ...] = ()
    output: object = None
    error: object = None

    @property
    def answered(self) -> bool:
        """Whether the result of this try is known, so that no other try can be more."""
        return self.outcome is Outcome.SUCCEEDED or self.settled is Settlement.DONE


class RunEnd(msgspec.Struct, frozen=True):
    """An earlier life ended by an error, in good order.

    Attributes:
        nodes: the tries that this error came from (origin.py); more than one for an exception
            group. Not every error that ended a scope counts: one that an outer scope caught was
            dealt with, and a better answer now would send a correct program down another path
            than its record.
        order: place of the root's ended record in the run's log.
    """

    nodes: tuple[NodeId, ...]
    order: int


class History:
    """The calls of earlier lives, by key.

    Args:
        tries: every try, in log order.
        ends: each end by an error of an earlier life. Without its entry here an error counts as
            caught.
        gaps: paths of the scopes in which calls ran unrecorded.
    """

    __slots__ = ("__weakref__", "_again", "_more", "_windows", "calls", "gaps")

    def __init__(
        self,
        tries: Iterable[Recorded] = (),
        *,
        ends: Iterable[RunEnd] = (),
        gaps: Iterable[str] = (),
    ) -> None:
        calls: dict[CallKey, Recorded] = {}
        more: dict[CallKey, list[Recorded]] = {}
        tries = list(tries)
        for one in tries:
            before = calls.setdefault(one.key, one)
            if before is not one:
                more.setdefault(one.key, [before]).append(one)
                calls[one.key] = max(before, one, key=lambda r: (r.answered, r.try_number))
        self.calls = calls
        self.gaps = frozenset(gaps)
        self._more = more
        self._again: set[NodeId] = set()
        self._windows: list[tuple[int, int]] = []
        for end in ends:
            self._read_end(end, tries)

    def verdict(self, recorded: Recorded, *, effect: bool) -> Verdict:
        """Return what is to be done about a recorded call: the rules for what is in the record.

        Args:
            effect: as the program declares the call now; for one that nobody asks for, as it was
                recorded.
        """
        if recorded.conflict:
            return Verdict.DOUBT
        if recorded.answered:
            return Verdict.ANSWER
        if recorded.settled is Settlement.NOT_DONE:
            return Verdict.AGAIN
        if (
            recorded.outcome is Outcome.FAILED
            and recorded.retry_after_s is None
            and recorded.node_id not in self._again
        ):
            return Verdict.ANSWER
        # Started and no more, cancelled, failed with the error that ended the run, or failed and to
        # be tried again: its outcome is open.
        return Verdict.DOUBT if effect and not recorded.not_done else Verdict.AGAIN

    def optional(self, recorded: Recorded) -> bool:
        """Return whether the call came between an error and the end of the run by that error.

        It answers an equal call, but a program that gets a better answer this time need not make
        it.
        """
        return any(first < recorded.order < last for first, last in self._windows)

    def next_try(self, key: CallKey) -> int:
        """Return the number of the next try of a recorded call."""
        tries = self._more.get(key)
        return 1 + (max(r.try_number for r in tries) if tries else self.calls[key].try_number)

    def failures(self, key: CallKey) -> int:
        """Return how many tries of a call its policy has used up since the program last saw its error."""
        known = self.calls.get(key)
        tries = self._more.get(key) or ([known] if known is not None else [])
        spent = 0
        for one in sorted(tries, key=lambda r: r.try_number):
            if one.outcome is Outcome.FAILED:
                spent = 0 if one.retry_after_s is None else spent + 1
        return spent

    def first_started_ns(self, key: CallKey) -> int:
        """Return when (wall time) a provider first saw the idempotency key of a recorded call."""
        tries = self._more.get(key)
        return min(r.started_ns for r in tries) if tries else self.calls[key].started_ns

    def _read_end(self, end: RunEnd, tries: Sequence[Recorded]) -> None:
        """Note whose error ended a life.

        Such a call is asked again: nothing in the program has dealt with its error. Not so where
            the program, on its way out,
        started effects (a refund, a notice that it failed): it has acted on the error, and asking
        again could ship what was refunded. Then the error stands, and is raised again.
        """
        failed = [r for r in tries if r.node_id in end.nodes and r.ended_order]
        if not failed:
            return
        first = min(r.ended_order for r in failed)
        on_the_way_out = [r for r in tries if r.effect and first < r.order < end.order]
        if on_the_way_out:
            begun_before = {r.scope for r in tries if r.order < first}
            handlers = {path for r in failed for path in self._outward(r.scope)}
            # An effect of a branch that was under way beside the failed call is no answer to its
            # error.
            if any(r.scope in handlers or r.scope not in begun_before for r in on_the_way_out):
                return
        self._again.update(end.nodes)
        self._windows.append((first, end.order))

    def _outward(self, path: str) -> list[str]:
        """Return `path` and the scopes around it, out to the root."""
        paths = [path]
        while path != ROOT_SCOPE:
            cut = path.rfind("/")
            if cut == 0:
                call = self.calls.get(CallKey(path[1:]))
                path = call.scope if call is not None else ROOT_SCOPE
            else:
                path = path[:cut]
            paths.append(path)
        return paths
