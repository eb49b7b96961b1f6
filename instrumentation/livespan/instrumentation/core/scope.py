"""A scope: where in the program calls are made. What is equal is numbered within its scope alone.

    /                    the run
    /plan.0              the first scope named "plan" that the run entered
    /~worker.1           the second task or thread of function `worker` that the run started: a
    branch /@alice              a branch named by hand (the second of that name: /@alice#1) /4f0c...
    what the live call 4f0c... starts inside itself: answered with it, it shifts nothing outside
    /plan.0/~worker.0    the first branch within the first "plan"

Counters are iterators over a range: `next` on one is a single step of the interpreter, so two
    threads, or a signal handler and
the code that it interrupts, never get the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import length_hint
from typing import Final, TypeAlias

from livespan.instrumentation.core.claims import Claims
from livespan.instrumentation.core.history import Recorded
from livespan.instrumentation.core.place import UP_TO
from livespan.proto.ids import ROOT_SCOPE, CallKey, NodeId, TraceId, scope_node_id

__all__ = ["OnEnd", "Scope", "escape"]

_LIMIT: Final = 2**62


def _numbers(first: int = 0) -> Iterator[int]:
    return iter(range(first, _LIMIT))


def _taken(numbers: Iterator[int]) -> int:
    return _LIMIT - length_hint(numbers)


def escape(name: str) -> str:
    """Return `name` as a segment that no other name has and no other kind of segment looks like."""
    name = name.replace("%", "%25").replace("/", "%2F").replace("#", "%23")
    return f"%{ord(name[0]):02X}{name[1:]}" if name[:1] in ("~", "@") else name


class Scope:
    """One scope in one life of the run.

    Attributes:
        trace: the run's.
        path, parent, node_id: where it is, what it lies in, and the node under which its calls
            hang.
        claims, left: what the history still holds, of the run and of this scope.
        gap: calls ran unrecorded here or around here in an earlier life.
        announced: its BRANCH node was written; a call's inside needs none, the call's own node
            stands for it.
        hinted: a branch of it was told to a thread or task and not to a context (branches/).
        on_end: told when a branch that Livespan named by itself ends, and by which error; None
            where nobody listens.
    """

    __slots__ = (
        "_occurrences",
        "_passed",
        "_skipped",
        "_spawned",
        "announced",
        "claims",
        "gap",
        "hinted",
        "left",
        "node_id",
        "on_end",
        "parent",
        "path",
        "trace",
    )

    def __init__(self, path: str, parent: Scope | None, node_id: NodeId, claims: Claims, trace: TraceId) -> None:
        self.path = path
        self.parent = parent
        self.node_id = node_id
        self.claims = claims
        self.left: dict[CallKey, Recorded] = claims.left(path)
        self.announced = False
        self.hinted = False
        self.trace = trace
        self._occurrences: dict[tuple[str, str, str, str], Iterator[int]] = {}
        self._spawned: dict[str, Iterator[int]] = {}
        self._passed = 0
        self._skipped: set[CallKey] = set()
        if parent is None:
            self.gap = bool(claims.history.gaps) and path in claims.history.gaps
            self.on_end: OnEnd | None = None
        else:
            self.gap = parent.gap or path in claims.history.gaps
            self.on_end = parent.on_end

    def __repr__(self) -> str:
        return f"Scope({self.path!r})"

    @classmethod
    def root(cls, trace: TraceId, claims: Claims) -> Scope:
        """Return the scope of the run itself."""
        return cls(ROOT_SCOPE, None, scope_node_id(trace, ROOT_SCOPE), claims, trace)

    def occurrence(self, kind: str, name: str, digest: str, call_id: str) -> int:
        """Return how many equal calls this scope has seen in this life, and count this one."""
        base = (kind, name, digest, call_id)
        numbers = self._occurrences.get(base)
        if numbers is None:
            numbers = self._occurrences.setdefault(base, _numbers())
        return next(numbers)

    def named(self, name: str) -> Scope:
        """Return the next scope of that name in here."""
        segment = escape(name)
        return self._child(f"{segment}.{self._spawn(segment)}")

    def branch(self, label: str) -> Scope:
        """Return the next branch of that label: a task or thread that the code in here starts."""
        segment = "~" + escape(label)
        return self._child(f"{segment}.{self._spawn(segment)}")

    def by_hand(self, name: str) -> Scope:
        """Return the branch that the program names itself. Parallel ones must differ in name."""
        segment = "@" + escape(name)
        number = self._spawn(segment)
        return self._child(f"{segment}#{number}" if number else segment)

    def inside(self, key: CallKey, node_id: NodeId) -> Scope:
        """Return the scope of what a live call starts inside itself."""
        scope = Scope(ROOT_SCOPE + key, self, node_id, self.claims, self.trace)
        scope.announced = True
        return scope

    @property
    def untouched(self) -> bool:
        """Whether nothing was called, entered or started in here."""
        return not self._occurrences and not self._spawned

    def counters(self) -> dict[str, int]:
        """Return how many children of each name were started."""
        return {segment: _taken(numbers) for segment, numbers in list(self._spawned.items())}

    def place(self) -> dict[str, int]:
        """Return what a checkpoint must store of where the program stands; see place.py."""
        started = self.counters()
        first_left = self.claims.first_left_below(self.path, started)
        recorded = self.claims.recorded(self.path)
        while self._passed < len(recorded) and self._was_asked(recorded[self._passed]):
            self._passed += 1
        if self._passed < len(recorded):
            first_left[self.path] = recorded[self._passed].order
        if first_left:
            first_left[UP_TO] = self.claims.last_order
        return started | first_left

    def go_on_from(self, counters: Mapping[str, int], before: list[Recorded], ended: list[Recorded]) -> None:
        """Go on counting where a checkpoint stood.

        Args:
            counters: children started by then.
            before: calls that lie before it, in log order.
            ended: those of them that were claimed with it.
        """
        for segment, number in counters.items():
            self._spawned[segment] = _numbers(number)
        self._skipped = {one.key for one in before}
        for one in ended:
            base = self._base(one)
            numbers = self._occurrences.get(base)
            if numbers is None or _taken(numbers) <= one.occurrence:
                self._occurrences[base] = _numbers(one.occurrence + 1)

    def _was_asked(self, recorded: Recorded) -> bool:
        if recorded.key in self._skipped:
            return True
        numbers = self._occurrences.get(self._base(recorded))
        return numbers is not None and _taken(numbers) > recorded.occurrence

    def _base(self, recorded: Recorded) -> tuple[str, str, str, str]:
        call_id = recorded.call_id if recorded.call_id in self.claims.known else ""
        return (recorded.kind, recorded.name, recorded.digest, call_id)

    def announce(self) -> list[Scope]:
        """Return the scopes, outermost first, whose BRANCH node must be written before a call here.

        They are marked as announced. Two threads may both be given one: its second started record
        is a duplicate, and harmless.
        """
        due: list[Scope] = []
        scope: Scope | None = self
        while scope is not None and not scope.announced:
            scope.announced = True
            due.append(scope)
            scope = scope.parent
        due.reverse()
        return due

    def _spawn(self, segment: str) -> int:
        numbers = self._spawned.get(segment)
        if numbers is None:
            numbers = self._spawned.setdefault(segment, _numbers())
        return next(numbers)

    def _child(self, segment: str) -> Scope:
        path = f"{self.path}/{segment}" if self.parent is not None else ROOT_SCOPE + segment
        return Scope(path, self, scope_node_id(self.trace, path), self.claims, self.trace)


OnEnd: TypeAlias = Callable[[Scope, BaseException | None], None]
