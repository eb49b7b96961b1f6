"""Which records leave the hot tier with a publication, and which open nodes stay until they end.

started, no end yet ─▶ its run has a holder, and it is young ─▶ stays: its end makes one row of both
                    └▶ else                                  ─▶ leaves as a row of its own
"""

from __future__ import annotations

from collections.abc import Sequence

from livespan.collector.hot import Held
from livespan.collector.lake.publishing import Publishing
from livespan.proto.record import RecordKind

__all__ = ["but_open_nodes"]


def but_open_nodes(held: Sequence[Held], publishing: Publishing) -> list[Held]:
    """Return what leaves: all but the open nodes that may still end in the hot tier.

    Args:
        held: all that is there.
    """
    ends: dict[tuple[bytes, bytes], int] = {}
    for each in held:
        record = each.record
        if record.kind is RecordKind.ENDED:
            node = (record.trace_id, record.node_id)
            ends[node] = max(ends.get(node, 0), record.log_seq)
    now_ns = publishing.clock.wall_ns()
    young_ns = int(publishing.open_after_s * 1e9)
    holders: dict[bytes, bool] = {}
    leaving: list[Held] = []
    for each in held:
        record = each.record
        if record.kind is RecordKind.STARTED and ends.get((record.trace_id, record.node_id), 0) < record.log_seq:
            trace = record.trace_id
            if trace not in holders:
                holders[trace] = publishing.held(trace)
            if holders[trace] and abs(now_ns - record.started_ns) <= young_ns:
                continue
        leaving.append(each)
    return leaving
