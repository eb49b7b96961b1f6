"""The rules of begin and done as an executable model: the oracle of the core.

It knows calls as tuples `(scope, kind, name, argument, id, occurrence)`, keeps its journal as a
list of lines, and shares no line with the core. It must stay plain; core_programs.py runs it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Path = tuple[str, ...]


class Key(NamedTuple):
    scope: Path
    kind: str
    name: str
    argument: Hashable
    call_id: str
    occurrence: int


class Crash(BaseException):
    """The process dies here."""


class Diverged(BaseException): ...


class Doubtful(BaseException): ...


class CallError(Exception):
    """What a call raises; it knows whose outcome it is."""

    def __init__(self, key: Key) -> None:
        super().__init__(key.name)
        self.key = key


@dataclass
class Entry:
    """One line of the journal: a call started, succeeded or failed, or the run ended by the
    error of a call.
    """

    what: str
    key: Key
    value: int = 0
    try_number: int = 0


@dataclass
class Journal:
    """What the run has written. What came after the last barrier may be lost with its host."""

    barrier: bool = True
    log: list[Entry] = field(default_factory=list[Entry])
    alone: list[Entry] = field(default_factory=list[Entry])
    acknowledged: int = 0

    def write(self, entry: Entry) -> None:
        self.log.append(entry)
        if entry.what == "started" and entry.key.kind == "effect":
            if self.barrier:
                self.acknowledged = len(self.log)
            else:
                self.alone.append(entry)  # the mutant: the start itself, without what led to it

    def lose_host(self, rng: random.Random) -> None:
        kept = self.log[: rng.randint(self.acknowledged, len(self.log))]
        self.log = kept + [entry for entry in self.alone if not any(entry is k for k in kept)]
        self.acknowledged = len(self.log)


class Begun(NamedTuple):
    """An answer, an error to raise again, or a call to make."""

    what: str
    key: Key
    value: int = 0
    try_number: int = 0


class Life(Protocol):
    """What a program may ask of the rules; `Path` stands for whatever the rules know a scope by."""

    def begin(self, scope: Any, kind: str, name: str, argument: Hashable, call_id: str) -> Begun: ...
    def ended(self, begun: Begun, value: int, *, failed: bool) -> None: ...
    def child(self, scope: Any, name: str, *, branch: bool) -> Any: ...
    def leave(self, scope: Any, *, failed: bool) -> None: ...
    def finish(self, error: CallError | None) -> None: ...


def ids_of(answer: int) -> list[str]:
    return [f"{answer}-{i}" for i in range(3)]


class Model:
    """The rules, for one life."""

    def __init__(self, journal: Journal, policy: str, *, share_branches: bool = False) -> None:
        self.journal, self.policy, self.share = journal, policy, share_branches
        self.past = list(journal.log)
        self.tries: dict[Key, list[Entry]] = {}
        for e in self.past:
            if e.what != "run ended":
                self.tries.setdefault(e.key, []).append(e)
        self.claimed: set[Key] = set()
        self.seen: Counter[Hashable] = Counter()
        self.issued = {i for e in self.past for i in self._issues(e)}
        self.may_act: set[str] = set()
        self.windows: list[tuple[int, int]] = []
        self.again: set[tuple[Key, int]] = set()
        for end, entry in enumerate(self.past):
            if entry.what == "run ended":
                self._read_end(end, entry)

    def _read_end(self, end: int, entry: Entry) -> None:
        at = next(
            (
                i
                for i, e in enumerate(self.past)
                if e.what == "failed" and (e.key, e.try_number) == (entry.key, entry.try_number)
            ),
            None,
        )
        if at is None:
            return
        before = {e.key.scope for e in self.past[:at] if e.what == "started"}
        around = {entry.key.scope[:n] for n in range(len(entry.key.scope) + 1)}
        for e in self.past[at + 1 : end]:
            if e.what == "started" and e.key.kind == "effect" and (e.key.scope in around or e.key.scope not in before):
                return  # the program has acted on the error, so it stands
        self.again.add((entry.key, entry.try_number))
        self.windows.append((at, end))

    @staticmethod
    def _issues(entry: Entry) -> list[str]:
        return ids_of(entry.value) if entry.what == "succeeded" and entry.key.kind == "llm" else []

    def _last(self, key: Key) -> tuple[str, int, int]:
        """How a recorded call stands: what its last try came to, its value, its number."""
        tries = self.tries[key]
        last = max(e.try_number for e in tries)
        done = next((e for e in tries if e.what == "succeeded"), None)
        if done is not None:
            return "succeeded", done.value, last
        failed = any(e.what == "failed" and e.try_number == last for e in tries)
        if failed and (key, last) not in self.again:
            return "failed", 0, last
        return "not done" if failed and key.name.endswith("declined") else "open", 0, last

    def _recorded(self, key: Key) -> bool:
        return key in self.tries

    def _in_doubt(self, key: Key) -> bool:
        return key.kind == "effect" and self._last(key)[0] == "open"

    def _left(self, scope: Path | None, *, optional: bool = False) -> list[Key]:
        started: dict[Key, int] = {}
        for i, e in enumerate(self.past):
            if e.what == "started":
                last = self._last(e.key)[2]
                if e.try_number == last and scope in (None, e.key.scope) and e.key not in self.claimed:
                    started[e.key] = i
        return [k for k, i in started.items() if optional or not any(a < i < b for a, b in self.windows)]

    def begin(self, scope: Path, kind: str, name: str, argument: Hashable, call_id: str) -> Begun:
        call_id = call_id if call_id in self.issued else ""
        base = (scope, kind, name, argument, call_id)
        key = Key(*base, self.seen[base])
        self.seen[base] += 1
        number = 0
        if self._recorded(key):
            self.claimed.add(key)
            what, value, last = self._last(key)
            if what == "succeeded":
                if kind == "llm":
                    self.may_act.update(ids_of(value))
                return Begun("answer", key, value)
            if what == "failed":
                return Begun("raise", key)
            if kind == "effect" and what == "open" and self.policy == "fail":
                raise Doubtful(key)
            number = last + 1
        elif (left := self._left(scope)) and (call_id not in self.may_act or any(k.call_id == call_id for k in left)):
            raise Diverged(key)
        self.journal.write(Entry("started", key, 0, number))
        return Begun("live", key, 0, number)

    def ended(self, begun: Begun, value: int, *, failed: bool) -> None:
        entry = Entry("failed" if failed else "succeeded", begun.key, value, begun.try_number)
        self.journal.write(entry)
        self.issued.update(self._issues(entry))
        self.may_act.update(self._issues(entry))

    def child(self, scope: Path, name: str, *, branch: bool) -> Path:
        if branch and self.share:
            return scope
        self.seen[scope, name, branch] += 1
        return (*scope, f"{name}{'~' if branch else '.'}{self.seen[scope, name, branch]}")

    def leave(self, scope: Path, *, failed: bool) -> None:
        if not failed and not (self.share and scope[-1:] != ()):
            self._owes(self._left(scope), self._left(scope))

    def finish(self, error: CallError | None) -> None:
        if error is None:
            self._owes(self._left(None), self._left(None, optional=True))
        else:
            number = max(e.try_number for e in self.journal.log if e.key == error.key)
            self.journal.write(Entry("run ended", error.key, 0, number))

    def _owes(self, required: list[Key], every: list[Key]) -> None:
        if any(self._in_doubt(k) for k in every):
            raise Doubtful(every)
        if required:
            raise Diverged(required)
