"""Protections taken away, one at a time, in a launched process; `mutants.py` says which trial must notice.

pause-append    nothing is taken away: an append stands still before its commit word
commit-first    the spool's commit word is written before what it covers, and the append stands still behind it
no-barrier      an effect's start is acknowledged without what the run recorded before it
late-end        an effect's result is handed on a moment before its end is spooled
start-spooled   an effect's start goes into the spool, as if the collector were away, and is not waited for
own-clock       an agent does not notice that its lease is over: the collector's fencing stands alone
old-facts       what a former epoch recorded is dropped when it arrives
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import xxhash

from livespan.collector.hot import HotTier
from livespan.collector.log.protocol import FrameRef
from livespan.instrumentation.barrier import Barrier, Unacknowledged
from livespan.instrumentation.holding import Holding
from livespan.instrumentation.journal import Journal
from livespan.instrumentation.permission import Permission
from livespan.instrumentation.spool.layout import RECORD_BYTES
from livespan.instrumentation.spool.writer import SpoolWriter
from livespan.proto.record import Record
from livespan.proto.span import WireSpan

__all__ = ["in_agent", "in_collector"]

_ended = Journal.ended


def in_agent(without: str, pause: Callable[[str], None]) -> None:
    """Change this process, an agent's.

    Args:
        without: which protection goes; "" for none.
        pause: called with "append" in the middle of every append, where the mutation says so.
    """
    if without == "no-barrier":
        Barrier.collect = _nothing  # type: ignore[method-assign,assignment]  # that is what a mutation is
    if without == "late-end":
        Journal.ended = _a_moment_later  # type: ignore[method-assign,assignment]  # as above
    if without == "start-spooled":
        Permission.ask = _unasked  # type: ignore[method-assign,assignment]  # as above
    if without == "own-clock":
        Holding.is_valid = property(lambda holding: True)  # type: ignore[method-assign,assignment]  # as above
        Holding._lose = _lose_nothing  # type: ignore[method-assign,assignment]  # as above
    if without in ("pause-append", "commit-first"):
        SpoolWriter.append = _standing_still(pause, without == "commit-first")  # type: ignore[method-assign]  # as above


def in_collector(without: str) -> None:
    """Change this process, a collector's."""
    if without == "old-facts":
        HotTier.add = _newest_epoch_alone()  # type: ignore[method-assign]  # as above


def _nothing(barrier: Barrier, trace_id: bytes, deadline_s: float, kick: Callable[[], None]) -> Unacknowledged:
    del barrier, trace_id, deadline_s, kick
    return Unacknowledged([], {}, {})


def _a_moment_later(*told: Any) -> None:
    later = threading.Timer(3.0, _ended, told)
    later.daemon = True
    later.start()


def _unasked(permission: Permission, started: WireSpan) -> bool:
    del permission, started
    return False


def _lose_nothing(holding: Holding, reason: str) -> None:
    del holding, reason


def _standing_still(pause: Callable[[str], None], commit_first: bool) -> Callable[..., int]:
    """Return an append that writes the record's beginning (or its commit word), stands still, and goes on."""
    append = SpoolWriter.append

    def slow(writer: SpoolWriter, head: bytes, body: bytes, kind: int, reserve: int = 0, consumes: int = 0) -> int:
        segment = writer._current  # pyright: ignore[reportPrivateUsage]  # a mutation reaches inside
        at, size = segment.end, len(head) + len(body) + RECORD_BYTES
        if at + size + writer.promised <= segment.size:
            seq = writer._seq + 1  # pyright: ignore[reportPrivateUsage]  # as above
            shape = kind | len(head) << 32
            if commit_first:
                digest = xxhash.xxh3_64_intdigest(head, seq ^ shape)
                digest = xxhash.xxh3_64_intdigest(body, digest) if body else digest
                segment.words[at >> 3] = (digest & 0xFFFF_FFFF | 1) << 32 | len(head) + len(body)
            else:
                segment.words[(at >> 3) + 1] = seq
                segment.mapping[at + RECORD_BYTES : at + RECORD_BYTES + len(head) // 2] = head[: len(head) // 2]
            pause("append")
        return append(writer, head, body, kind, reserve, consumes)

    return slow


def _newest_epoch_alone() -> Callable[..., None]:
    """Return an `add` that forgets records of an epoch older than the newest that it has seen of their run."""
    add = HotTier.add
    newest: Counter[bytes] = Counter()

    def forgetful(
        tier: HotTier, records: Sequence[Record], ref: FrameRef, payload_bytes: int, last_seq: int | None = None
    ) -> None:
        kept: list[Record] = []
        for record in records:
            newest[record.trace_id] = max(newest[record.trace_id], record.epoch)
            if record.epoch == newest[record.trace_id]:
                kept.append(record)
        add(tier, kept, ref, payload_bytes, last_seq or (records[-1].log_seq if records else 0))

    return forgetful
