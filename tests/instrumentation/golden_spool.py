"""The process whose spool is the golden one: `golden_spool.py SPOOL`; not a test. It dies of its own SIGKILL while it
stores its last record, with everything of it written but the commit word.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typing_extensions import Buffer

from livespan.instrumentation.outbound import EntryKind, encode_head
from livespan.instrumentation.spool import WriterMeta
from livespan.instrumentation.spool import writer as spool_writer
from livespan.instrumentation.spool.quota import Quota
from livespan.instrumentation.spool.writer import SpoolWriter
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, scope_node_id, trace_id
from livespan.proto.record import RecordKind
from livespan.proto.span import JournalSpan, Scalar, attribute_bytes, resource_bytes

AT_NS = 1_769_850_000_000_000_000
TRACE = trace_id("shop", "order-17")
ROOT = scope_node_id(TRACE, ROOT_SCOPE)
RESOURCE = resource_bytes({names.PROJECT: "shop", names.RUN_ID: "order-17", names.ATTEMPT: 1, names.EPOCH: 3})


def journal(
    kind: RecordKind, number: int, attributes: dict[str, Scalar], texts: tuple[tuple[str, bytes], ...] = ()
) -> bytes:
    """Return the head of a record; `number` is its node's, 0 the root's, and sets its times."""
    return encode_head(
        JournalSpan(
            resource=RESOURCE,
            trace_id=TRACE,
            node_id=number.to_bytes(8, "big") if number else ROOT,
            parent_id=ROOT if number else b"",
            name="charge" if number else "order-17",
            started_ns=AT_NS + number * 1_000_000,
            ended_ns=0 if kind is RecordKind.STARTED else AT_NS + number * 1_000_000 + 250_000,
            failed=False,
            fixed=attribute_bytes({names.NODE_TYPE: "TOOL", names.EFFECT: True}) if number else b"",
            attributes={names.RECORD: kind.value, names.SCOPE: ROOT_SCOPE, **attributes},
            texts=texts,
        )
    )


def foreign() -> tuple[bytes, bytes]:
    """Return head and body of somebody else's span."""
    span = Span(trace_id=TRACE, span_id=b"\x07" * 8, name="chat gpt", start_time_unix_nano=AT_NS)
    span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt"
    resource = Resource()
    resource.attributes.add(key="service.name").value.string_value = "shöp"
    return span.SerializeToString(deterministic=True), resource.SerializeToString(deterministic=True)


def append_all(writer: SpoolWriter) -> None:
    """Fill a segment with two checkpoints, one more than it holds, with small records between; die in the last one."""
    given = ((names.TOOL_ARGUMENTS, b'{"cents":4200}'),)
    writer.append(journal(RecordKind.STARTED, 1, {names.TRY: 0, names.CALL_KEY: "aa" * 8}, given), b"", 1)
    writer.append(journal(RecordKind.ENDED, 1, {}, ((names.TOOL_RESULT, '"bezahlt ✓"'.encode()),)), b"", 1)
    span, resource = foreign()
    writer.append(span, resource, EntryKind.FOREIGN)
    writer.append(journal(RecordKind.CHECKPOINT, 0, {names.CHECKPOINT_ID: "c1"}), b"one state " * 60_000, 1)
    writer.skip_seq()
    writer.append(journal(RecordKind.CHECKPOINT, 0, {names.CHECKPOINT_ID: "c2"}), b"two states" * 60_000, 1)
    writer.append(span, b"", EntryKind.FOREIGN)
    writer.append(journal(RecordKind.STARTED, 2, {names.TRY: 0, names.CALL_KEY: "bb" * 8}, given), b"", 1)

    def die(data: Buffer, seed: int = 0) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return len(memoryview(data)) + seed

    spool_writer._digest = die  # pyright: ignore[reportPrivateUsage]  # it is asked for just before the commit word
    writer.append(journal(RecordKind.ENDED, 2, {}, ((names.TOOL_RESULT, b'"torn"'),)), b"", 1)


def main(spool: Path) -> None:
    meta = WriterMeta("unix:/run/livespan/collector.sock", 4711, AT_NS)
    quota = Quota(spool, max_process_bytes=64 << 20, max_home_bytes=64 << 20)
    writer = SpoolWriter(spool, "golden", meta=meta, quota=quota)
    if writer.begin() is not None:
        raise SystemExit("no room")
    append_all(writer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
