"""Reads over what is recorded: a user's SQL, in a process apart (answer.py), and our own (reading.py)."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager

from livespan.collector.query.answer import Answer
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.reading import Reading, open_reading
from livespan.collector.query.snapshots import Lake, Snapshot
from livespan.collector.query.statement_processes import StatementProcesses

__all__ = ["Answer", "Lake", "QueryEngine", "QueryLimits", "Reading", "Snapshot"]


class QueryEngine:
    """Reads over the newest snapshot. Thread-safe: every read is its own. Processes for users' statements are kept
    until `retire` or `close`.
    """

    def __init__(self, lake: Lake, limits: QueryLimits | None = None) -> None:
        self._lake = lake
        self._limits = limits or QueryLimits()
        self._processes = StatementProcesses(self._limits, lake)

    @property
    def limits(self) -> QueryLimits:
        """What one read may cost."""
        return self._limits

    def select(self, sql: str) -> Answer:
        """Return the answer to a user's statement, to be closed by the caller; nothing has happened yet."""
        return Answer(self._lake, self._processes, self._limits, sql)

    def reading(self, runs: Collection[str] | None = None, *, whole: bool = True) -> AbstractContextManager[Reading]:
        """Open one snapshot for statements of our own, or these runs of it; all of them see the same. `whole` is as in
        `Lake.snapshot`.
        """
        return open_reading(self._lake.snapshot(runs, whole=whole), self._limits, runs)

    def retire(self, idle_s: float) -> None:
        """End the processes that no statement has needed for this long."""
        self._processes.retire(idle_s)

    def close(self) -> None:
        """End the processes; a statement after this is refused."""
        self._processes.close()
