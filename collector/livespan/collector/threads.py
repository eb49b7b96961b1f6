"""What is recorded of LangGraph's threads, from hot tier and lake together. A thread is its records, in log order; what
they amount to is known to whoever keeps it (instrumentation's saver/).

A thread's records stand under a run id of its own (`thread_run_id`), so a read of one touches no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from livespan.collector.history import History
from livespan.collector.hot import HotTier
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.rows import Stored
from livespan.proto import attributes as names
from livespan.proto.ids import THREAD_PREFIX, content_digest, thread_run_id
from livespan.proto.record import Large, Record, RecordKind

__all__ = ["Threads"]

_AT_ONCE_BYTES: Final = 2 * 1024 * 1024


class Threads:
    """Answers from what is acknowledged, published or not. Thread-safe."""

    def __init__(self, history: History, hot: HotTier, lake: LakeReader) -> None:
        self._history = history
        self._hot = hot
        self._lake = lake

    def records(self, project: str, thread_id: str) -> Sequence[Record]:
        """Return the records of a thread, in log order.

        Raises:
            Damaged: a file of the lake cannot be read.
        """
        found = self._history.whole(project, thread_run_id(thread_id), 0)
        return found.thread if found is not None else ()

    def with_states(self, records: Sequence[Record]) -> Iterator[list[tuple[Record, bytes]]]:
        """Yield these records of one thread with their states, some megabytes at a time.

        Raises:
            Damaged: the stored bytes of one are not those that were recorded.
        """
        part: list[Record] = []
        size = 0
        for record in records:
            part.append(record)
            size += _state_bytes(record)
            if size >= _AT_ONCE_BYTES:
                yield self._part(part)
                part, size = [], 0
        if part:
            yield self._part(part)

    def listed(self, project: str, langgraph_runs: Collection[str] = ()) -> list[str]:
        """Return the ids of a project's threads; where LangGraph runs are named, of those with a checkpoint of one.

        This reads a few columns of every thread, as nothing else here does.
        """
        snapshot = self._hot.snapshot()
        found = self._lake.thread_runs(snapshot.files.nodes, project, langgraph_runs)
        for record in snapshot.hot:
            if record.kind is not RecordKind.THREAD or record.project != project:
                continue
            if not langgraph_runs or _langgraph_run(record) in langgraph_runs:
                found.add(record.run_id)
        return sorted(run_id.removeprefix(THREAD_PREFIX) for run_id in found)

    def _part(self, records: Sequence[Record]) -> list[tuple[Record, bytes]]:
        published = [record for record in records if isinstance(record.attributes.get(names.STATE), Stored)]
        stored: dict[tuple[int, str], bytes] = {}
        if len(published) > 1:
            first, last = published[0], published[-1]
            stored = self._lake.states(self._hot.files().content, first.run_id, first.log_seq, last.log_seq)
        return [(record, self._state(record, stored)) for record in records]

    def _state(self, record: Record, stored: dict[tuple[int, str], bytes]) -> bytes:
        value = record.attributes.get(names.STATE)
        if value is None:
            return b""
        if isinstance(value, Stored):
            data = stored.get((record.log_seq, value.digest))
            if data is not None and content_digest(data) == value.digest:
                return data
        return self._history.content(record, "state")


def _state_bytes(record: Record) -> int:
    value = record.attributes.get(names.STATE)
    return value.size_bytes if isinstance(value, Large) else 0


def _langgraph_run(record: Record) -> object:
    try:
        return msgspec.json.decode(record.text(names.METADATA) or "{}", type=dict[str, object]).get("run_id")
    except msgspec.DecodeError:
        return None
