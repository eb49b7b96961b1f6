"""A record: one fact about a node, as it stands in the spool, on the wire, in the log and in the lake's `nodes` table.

    started     a call begins; carries its input             (node = the try)
    ended       a call ends; carries its outcome
    checkpoint  a state at the current node                  (node = the node that it was taken at)
    settled     doubt about an effect was settled
    gap         calls of a scope ran unrecorded              (node = the scope's)
    lease       who may start things: granted, released, died, expired
    attempt     one life of the process begins               (node = BRANCH `attempt N`)
    thread      a checkpoint, pending writes or a deletion in a thread that LangGraph keeps here; no node and no run
    foreign     a span of somebody else's, kept as it came

Of one node the newest record is the whole truth: settled > ended > started, then `log_seq`. Three orders, never
confused: `writer_seq` (per writer; a record is the same record if writer and sequence are), `log_seq` (the
collector's), and wall time, which orders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

__all__ = ["RANK", "AttributeValue", "Large", "Record", "RecordKind"]


class RecordKind(StrEnum):
    """What a record says."""

    STARTED = "started"
    ENDED = "ended"
    CHECKPOINT = "checkpoint"
    SETTLED = "settled"
    GAP = "gap"
    LEASE = "lease"
    ATTEMPT = "attempt"
    THREAD = "thread"
    FOREIGN = "foreign"


RANK: Final[dict[RecordKind, int]] = {RecordKind.STARTED: 1, RecordKind.ENDED: 2, RecordKind.SETTLED: 3}
"""Which record of a node outranks which; kinds that are not listed say nothing of a node's outcome."""


class Large(msgspec.Struct, frozen=True, gc=False):
    """Stands in a record's attributes for a value that was left where it lies, in the log.

    Attributes:
        span: index of the span within its request, in wire order.
        size_bytes: length of the value.
    """

    span: int
    size_bytes: int


AttributeValue: TypeAlias = str | int | float | bool | bytes | Large


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as the collector holds it. A msgspec struct and not a dataclass: 12,000 of them are made a second; and
    not for the garbage collector to walk, which stops every thread of the process: it is part of no cycle.

    `trace_id` has 16 bytes, `node_id` and `parent_id` 8 (`parent_id` may be empty). `started_ns` and `ended_ns` are
    the span's (0 = not set). `attributes` holds the span's attributes by the names of attributes.py; a value of more
    than 16 KB, and every state, is a `Large`. `writer` is "" for a span that came without one. `links` are node ids
    in hex; a link to another trace, as a root's to its caller, is `trace id/span id`. `raw` is the serialised span of
    a foreign record.
    """

    kind: RecordKind
    project: str
    run_id: str
    generation: int
    trace_id: bytes
    node_id: bytes
    parent_id: bytes
    name: str
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, AttributeValue]
    session: str = ""
    tags: Mapping[str, str] = {}
    attempt: int = 0
    epoch: int = 0
    writer: str = ""
    writer_seq: int = 0
    log_seq: int = 0
    failed: bool = False
    links: tuple[str, ...] = ()
    raw: bytes | Large = b""

    def text(self, name: str) -> str:
        """Return the string attribute `name`, or "" where it is absent, large or of another type."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """Return the integer attribute `name`, or None."""
        value = self.attributes.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool:
        """Return the boolean attribute `name`; absent is False."""
        return self.attributes.get(name) is True
