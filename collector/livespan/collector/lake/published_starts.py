"""Started records that are in the table already while their ends are not: an open node was published as it was."""

from __future__ import annotations

from collections.abc import Sequence

from livespan.collector.lake.read_back import records_of
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.table import LakeFile
from livespan.proto.record import Record, RecordKind

__all__ = ["published_starts"]


def published_starts(records: Sequence[Record], files: Sequence[LakeFile], reader: LakeReader) -> list[Record]:
    """Return, from these files of the table, the started records of ends that come without one."""
    starts: dict[tuple[bytes, bytes], int] = {}
    for each in records:
        if each.kind is RecordKind.STARTED:
            node = (each.trace_id, each.node_id)
            starts[node] = min(starts.get(node, each.log_seq), each.log_seq)
    missing: dict[tuple[bytes, bytes], int] = {}
    for each in records:
        node = (each.trace_id, each.node_id)
        if each.kind is RecordKind.ENDED and starts.get(node, each.log_seq) >= each.log_seq:
            missing[node] = max(missing.get(node, 0), each.log_seq)
    if not missing or not files:
        return []
    found = [record for row in reader.started_rows(files, missing) for record in records_of(row)]
    return [each for each in found if each.log_seq < missing[each.trace_id, each.node_id]]
