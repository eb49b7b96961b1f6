"""Who follows what is recorded, as it is indexed: a bounded queue each, which drops and says so.

    indexer ─▶ put ─▶ queue of 2,000 records ─▶ JSON lines ─▶ a follower
                        └ full: counted, and told in the follower's next lines

The indexer only ever appends a reference; what a slow follower costs is his own. Everything here is of one loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from livespan.collector.query.shapes import TailedRecord, TailGap
from livespan.proto import attributes as names
from livespan.proto.errors import Unavailable
from livespan.proto.measured import Family, counter, gauge
from livespan.proto.node import NodeStatus
from livespan.proto.record import Record, RecordKind

__all__ = ["Tails", "tailed"]

_MOST_WAITING: Final = 2000
_MOST_FOLLOWERS: Final = 64
_AT_ONCE: Final = 200
_INT64_MAX: Final = (1 << 63) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Follower:
    """One who follows; `wake` is set when there is something for him."""

    def __init__(self, project: str, run_id: str, most: int) -> None:
        self._project = project
        self._run_id = run_id
        self._most = most
        self._waiting: deque[Record] = deque()
        self._dropped = 0
        self.dropped_in_all = 0
        self.wake = asyncio.Event()

    def put(self, record: Record) -> None:
        if self._run_id not in ("", record.run_id) or self._project not in ("", record.project):
            return
        if len(self._waiting) >= self._most:
            self._dropped += 1
            self.dropped_in_all += 1
        else:
            self._waiting.append(record)
        self.wake.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> bytes:
        """Return some of what waits, as JSON lines; what was dropped came after it."""
        told: list[TailedRecord | TailGap] = [
            tailed(self._waiting.popleft()) for _ in range(min(len(self._waiting), _AT_ONCE))
        ]
        if not self._waiting:
            if self._dropped:
                told.append(TailGap(self._dropped))
                self._dropped = 0
            self.wake.clear()
        return b"\n".join([msgspec.json.encode(one) for one in told])


class Tails:
    """The followers of one collector; `put` is called by the indexer, `close` at its end.

    Args:
        most_waiting: records that one follower may be behind.
    """

    def __init__(self, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._followers: set[_Follower] = set()
        self._closed = False
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._followers)

    def families(self) -> Iterator[Family]:
        """Yield the numbers of those who follow."""
        followers = list(self._followers)
        waiting = sum([len(follower) for follower in followers])
        dropped = self._dropped + sum([follower.dropped_in_all for follower in followers])
        yield gauge("livespan_tail_followers", "Who follows what is recorded.", len(followers))
        yield gauge("livespan_tail_queue_records", "What waits for them.", waiting)
        yield counter("livespan_tail_dropped_records", "Records that a follower was too slow for.", dropped)

    def put(self, record: Record) -> None:
        """Hand a record to those who follow its run."""
        for follower in self._followers:
            follower.put(record)

    def close(self) -> None:
        """End every follower's stream."""
        self._closed = True
        for follower in self._followers:
            follower.wake.set()

    async def follow(self, project: str, run_id: str) -> AsyncGenerator[bytes, None]:
        """Yield JSON lines of what is indexed from the first step of this generator on; "" is all.

        The first yield is empty: it says that from here on nothing is missed.

        Raises:
            Unavailable: too many follow already, or the collector is leaving.
        """
        if len(self._followers) >= _MOST_FOLLOWERS:
            raise Unavailable(f"{_MOST_FOLLOWERS} follow already", subject="tail", hint="End one of them.")
        follower = _Follower(project, run_id, self._most_waiting)
        self._followers.add(follower)
        try:
            yield b""
            while True:
                await follower.wake.wait()
                if self._closed:
                    raise Unavailable("the collector is leaving", subject="tail", hint="Follow the next one.")
                yield follower.take()
        finally:
            self._followers.discard(follower)
            self._dropped += follower.dropped_in_all


def tailed(record: Record) -> TailedRecord:
    """Return a record as who follows sees it: what it says, without content."""
    at_ns = record.started_ns if record.kind is RecordKind.STARTED else record.ended_ns or record.started_ns
    return TailedRecord(
        at=_iso(at_ns),
        project=record.project,
        run_id=record.run_id,
        kind=record.kind.value,
        node_id=record.node_id.hex(),
        type=record.text(names.NODE_TYPE),
        name=record.name,
        status=_status(record),
        scope=record.text(names.SCOPE),
        attempt=record.attempt,
        log_seq=record.log_seq,
        error_type=record.text(names.ERROR_TYPE),
        error_message=record.text(names.ERROR_MESSAGE),
    )


def _status(record: Record) -> str:
    match record.kind:
        case RecordKind.STARTED:
            return NodeStatus.RUNNING.value
        case RecordKind.ENDED | RecordKind.FOREIGN:
            return (NodeStatus.FAILED if record.failed else NodeStatus.SUCCESS).value
        case RecordKind.SETTLED:
            return record.text(names.SETTLED)
        case RecordKind.LEASE:
            return record.text(names.LEASE_EVENT)
        case _:
            return ""


def _iso(ns: int) -> str | None:
    if not 0 < ns <= _INT64_MAX:
        return None
    at = _EPOCH + timedelta(microseconds=ns // 1000)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
