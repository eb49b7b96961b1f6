"""What may be tuned in a collector, parsed once at the edge (settings_options.py) and passed by argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CollectorSettings"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Settings of one collector.

    Attributes:
        lease_s: how long a run's lease lives without being renewed.
        publish_records, publish_s: a publication follows this many records, or this long after the first of them.
        segment_bytes: size of a log segment.
        hot_bytes: bound of the hot tier; above it requests are refused with UNAVAILABLE until a publication made room.
        log_bytes: when the log takes more than this, nodes that are open are published as they are, so that they do not
            keep it from being recycled.
        queue_bytes: bound of what waits for the committer.
        open_after_s: an open node's started row is published when it is older than this.
        idle_s: an embedded collector leaves after this long without a request or a live lease; 0 = never.
        drain_s: bound of a graceful end.
        max_message_bytes: bound of a request, after decompression.
        sql_memory_bytes, sql_timeout_s, sql_rows: what one statement of a user's may cost (query/engine.QueryLimits).
    """

    lease_s: float = 15.0
    publish_records: int = 4000
    publish_s: float = 10.0
    segment_bytes: int = 64 * _MIB
    hot_bytes: int = 256 * _MIB
    log_bytes: int = 512 * _MIB
    queue_bytes: int = 128 * _MIB
    open_after_s: float = 60.0
    idle_s: float = 0.0
    drain_s: float = 20.0
    max_message_bytes: int = 64 * _MIB
    sql_memory_bytes: int = 512 * _MIB
    sql_timeout_s: float = 30.0
    sql_rows: int = 1_000_000
