"""What a new life takes in of the log: the hot tier as it stood, without what the lake has.

frames in order ─▶ above the watermark ─▶ added, as if they came now
                └▶ below: noted as published ─▶ its started records that no end covers ─▶ held again, where their
                                                row is not in the table
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from livespan.collector.hot import Held, HotTier
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.table import Table
from livespan.collector.log.protocol import FrameRef
from livespan.proto.record import Record, RecordKind

__all__ = ["LogFrame", "take_in"]

LogFrame: TypeAlias = tuple[Sequence[Record], FrameRef, int]
"""Records, reference, payload size."""
_Open: TypeAlias = dict[tuple[bytes, bytes], list[Held]]


def take_in(frames: Iterable[LogFrame], hot: HotTier, nodes: Table, reader: LakeReader, log_id: str) -> None:
    """Fill a hot tier from the log, in order, before anything is added to it."""
    done = nodes.watermark
    open_starts: _Open = {}
    flushed = False
    for records, ref, size_bytes in frames:
        share = size_bytes // max(len(records), 1)
        fresh: list[Record] = []
        for record in records:
            if record.log_seq > done:
                fresh.append(record)
            elif hot.note_published(record):
                _follow(open_starts, record, Held(record, ref, share))
        if fresh:
            if not flushed:
                _restore(open_starts, hot, nodes, reader, log_id)
                flushed = True
            hot.add(fresh, ref, share * len(fresh))
    if not flushed:
        _restore(open_starts, hot, nodes, reader, log_id)


def _follow(open_starts: _Open, record: Record, held: Held) -> None:
    """Keep track of the started records that no end covers."""
    node = (record.trace_id, record.node_id)
    if record.kind is RecordKind.STARTED:
        open_starts.setdefault(node, []).append(held)
    elif record.kind is RecordKind.ENDED:
        open_starts.pop(node, None)


def _restore(
    open_starts: Mapping[tuple[bytes, bytes], list[Held]], hot: HotTier, nodes: Table, reader: LakeReader, log_id: str
) -> None:
    if not open_starts:
        return
    published = reader.published_starts(nodes.files, log_id, open_starts)
    for group in open_starts.values():
        for held in group:
            if held.record.log_seq not in published:
                hot.restore(held)
