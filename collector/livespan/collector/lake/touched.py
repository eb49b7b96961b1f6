"""Which plain runs have rows elsewhere, so that what their plain rows say may not be the whole.

    files of the last commits ─▶ plain runs: those in `plain` and `beside` files
                              └▶ touched: those of them that another unit has rows of too; at a read, the hot ones also

The views take an untouched plain run as its rows stand, and a touched one as any other run. Kept from commit to
commit: what a publication costs here goes by the runs of its own file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from livespan.collector.lake.file_names import Role, place_of, role_of

__all__ = ["PlainRuns", "Runs", "TouchedRuns"]


class Runs(Protocol):
    """What is known of the runs of a file."""

    @property
    def runs(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class PlainRuns:
    """The plain runs of a list of files. `known` is False where no run may be taken as plain: a file is not sealed, so
    nobody knows which runs it has rows of.
    """

    runs: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
    known: bool = True

    def touched_with(self, hot: Iterable[str]) -> frozenset[str]:
        """Return the touched runs where these have rows that are not published."""
        return self.touched | self.runs.intersection(hot)


class TouchedRuns:
    """Follows the files of `nodes`; one thread at a time."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, Runs]] = {}
        self._units_of: Counter[str] = Counter()
        self._runs_of: dict[str, Counter[str]] = {}
        self._plain: frozenset[str] = frozenset()
        self._touched: frozenset[str] = frozenset()

    def update(self, files: Iterable[tuple[Path, Runs | None]]) -> PlainRuns:
        """Take in the files that are live now, with what is sealed of them, and return their plain runs."""
        live: dict[str, tuple[Path, Runs]] = {}
        for path, sealed in files:
            if sealed is None:
                return PlainRuns(known=False)
            live[path.name] = (path, sealed)
        gone = [self._files[name] for name in self._files if name not in live]
        come = [live[name] for name in live if name not in self._files]
        changed: set[str] = set()
        for path, sealed in gone:
            changed.update(self._leave(place_of(path), sealed.runs))
        for path, sealed in come:
            changed.update(self._enter(place_of(path), sealed.runs))
        self._files = live
        if any(role_of(path) is not Role.PART for path, _ in (*gone, *come)):
            plain = [sealed.runs for path, sealed in live.values() if role_of(path) is not Role.PART]
            self._plain = frozenset[str]().union(*plain)
            self._touched = frozenset([run for run in self._plain if self._units_of[run] > 1])
        elif changed:
            mine = self._plain & changed
            still = frozenset([run for run in mine if self._units_of[run] > 1])
            self._touched = (self._touched - mine) | still
        return PlainRuns(self._plain, self._touched)

    def _enter(self, unit: str, runs: Iterable[str]) -> list[str]:
        held = self._runs_of.setdefault(unit, Counter())
        fresh = [run for run in runs if not held[run]]
        held.update(runs)
        self._units_of.update(fresh)
        return fresh

    def _leave(self, unit: str, runs: Iterable[str]) -> list[str]:
        held = self._runs_of[unit]
        held.subtract(runs)
        gone = [run for run in runs if not held[run]]
        self._units_of.subtract(gone)
        for run in gone:
            del held[run]
            if not self._units_of[run]:
                del self._units_of[run]
        if not held:
            del self._runs_of[unit]
        return gone
