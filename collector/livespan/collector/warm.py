"""Warm histories: what is published of the runs in use, kept folded in memory, so that opening a run again reads no
file.

A run is opened by every life of it, mostly by one that follows a crash; reading ten thousand rows back out of Parquet
takes longer than all the rest of an opening. What is here can be had from the lake as well: it may be dropped at any
time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

from livespan.collector.run_history import RunHistory
from livespan.proto.record import Record

__all__ = ["WarmRuns"]

_Key: TypeAlias = tuple[str, str]
_ENTRY_BYTES: Final = 2048
_RECORD_LIMIT_BYTES: Final = 8192
"""A record's large values are not here, so no record counts for more."""


class WarmRuns:
    """The newest generation of each run, least recently used first. Not thread-safe: the hot tier's lock guards it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._runs: OrderedDict[_Key, tuple[RunHistory, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: _Key) -> bool:
        """Return whether a run is here."""
        return key in self._runs

    def get(self, key: _Key) -> RunHistory | None:
        """Return the history of what is published of a run; to be copied, not changed."""
        found = self._runs.get(key)
        if found is None:
            return None
        self._runs.move_to_end(key)
        return found[0]

    def put(self, history: RunHistory) -> None:
        """Keep the history of everything that is published of a run."""
        key = (history.project, history.run_id)
        self._drop(key)
        records = 2 * len(history.calls) + len(history.attempts) + len(history.thread)
        self._keep(key, history, _ENTRY_BYTES * (1 + records))

    def published(self, record: Record, size_bytes: int) -> None:
        """Take in a record that is published now, where its run is here."""
        key = (record.project, record.run_id)
        found = self._runs.get(key)
        if found is None:
            return
        history, held_bytes = found
        if record.generation != history.generation:
            if record.generation > history.generation:
                self._drop(key)
            return
        history.add(record)
        added = min(size_bytes, _RECORD_LIMIT_BYTES)
        self._bytes += added
        self._runs[key] = (history, held_bytes + added)
        self._shrink()

    def _keep(self, key: _Key, history: RunHistory, size_bytes: int) -> None:
        self._runs[key] = (history, size_bytes)
        self._bytes += size_bytes
        self._shrink()

    def _drop(self, key: _Key) -> None:
        found = self._runs.pop(key, None)
        if found is not None:
            self._bytes -= found[1]

    def _shrink(self) -> None:
        while self._bytes > self._limit_bytes and self._runs:
            _, (_, size_bytes) = self._runs.popitem(last=False)
            self._bytes -= size_bytes
