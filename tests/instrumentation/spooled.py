"""Records in a spool without a run: for tests of who reads it, and a collector's client that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import EntryKind, encode_head
from livespan.instrumentation.spool import Spool
from livespan.proto import attributes as names
from livespan.proto.errors import InvalidInput, LivespanError
from livespan.proto.ids import ROOT_SCOPE, trace_id
from livespan.proto.record import RecordKind
from livespan.proto.span import JournalSpan, resource_bytes


def open_spool(folder: Path, family: str = "family", endpoint: str = "") -> Spool:
    """Return a spool of 64 MB for this process."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return Spool(folder, family, endpoint=endpoint, max_bytes_process=64 << 20, max_bytes_home=256 << 20)


def head(run_id: str, number: int, node: bytes | None = None) -> bytes:
    """Return the head of a record; `number` is in its name and its node."""
    return encode_head(
        JournalSpan(
            resource=resource_bytes({names.PROJECT: "default", names.RUN_ID: run_id}),
            trace_id=trace_id("default", run_id),
            node_id=number.to_bytes(8, "big") if node is None else node,
            parent_id=b"",
            name=f"n{number}",
            started_ns=1,
            ended_ns=2,
            failed=False,
            fixed=b"",
            attributes={names.RECORD: RecordKind.ENDED.value, names.SCOPE: ROOT_SCOPE, names.NODE_TYPE: "PROMPT"},
        )
    )


def append(spool: Spool, run_id: str, *numbers: int, body: bytes = b"") -> None:
    """Append records with these numbers."""
    for number in numbers:
        spool.append(head(run_id, number), body, kind=EntryKind.JOURNAL)


def append_refused(spool: Spool, run_id: str, number: int) -> None:
    """Append a record whose span no collector takes: it has no id."""
    spool.append(head(run_id, number, b""), kind=EntryKind.JOURNAL)


def append_unreadable(spool: Spool) -> None:
    """Append an entry that is no record."""
    spool.append(msgspec.msgpack.encode("no record"), kind=EntryKind.JOURNAL)


def damage(folder: Path, name: str) -> None:
    """Flip a byte of the record that is called `name`, in whatever segment of the spool it is."""
    for segment in folder.glob("*/*"):
        if not segment.is_file() or segment.stat().st_size < 4096:
            continue
        data = bytearray(segment.read_bytes())
        at = data.find(name.encode() + b"\x01\x02")  # its times follow a record's name
        if at >= 0:
            data[at] ^= 0xFF
            with segment.open("r+b") as file:
                file.write(data)
            return
    raise AssertionError(f"no segment holds {name}")


@dataclass
class Answering:
    """A collector's client: it takes all but names in `refuses`, and fails by `failure` while that is set."""

    refuses: set[str] = field(default_factory=set[str])
    refuses_whole: bool = False
    failure: LivespanError | None = None
    taken: list[str] = field(default_factory=list[str])
    requests: list[list[str]] = field(default_factory=list[list[str]])
    target: str = "test"
    rejected_spans = staticmethod(CollectorClient.rejected_spans)

    @property
    def client(self) -> CollectorClient:
        return cast("CollectorClient", self)

    def export(self, request: bytes) -> bytes:
        if self.failure is not None:
            raise self.failure
        message = ExportTraceServiceRequest.FromString(request)
        asked = [span.name for group in message.resource_spans for one in group.scope_spans for span in one.spans]
        self.requests.append(asked)
        refused = [name for name in asked if name in self.refuses]
        if refused and self.refuses_whole:
            raise InvalidInput("no such request")
        self.taken += [name for name in asked if name not in self.refuses]
        if not refused:
            return b""
        return ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(rejected_spans=len(refused))
        ).SerializeToString()

    def export_later(self, request: bytes) -> Callable[[], bytes]:
        return lambda: self.export(request)

    def close(self) -> None:
        return
