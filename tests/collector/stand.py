"""A collector's storage without its servers: log, hot tier, publisher and history over one folder; a life ends with
`crash`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from livespan.collector.disk import Disk, SystemDisk
from livespan.collector.history import History
from livespan.collector.hot import HotTier
from livespan.collector.lake.publisher import Publisher
from livespan.collector.lake.publishing import Publishing
from livespan.collector.lake.reader import LakeReader
from livespan.collector.log import Entry, open_log
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, TraceId, scope_node_id, trace_id
from livespan.proto.otlp import Request
from livespan.proto.record import Record, RecordKind
from livespan.proto.span import JournalSpan, Scalar, WireSpan, export_request, resource_bytes, wire_span

START_NS = 1_769_850_000_000_000_000
STATE = bytes(range(256)) * 80


@dataclass
class StoppedClock:
    """Wall time that stands still until it is moved."""

    now_ns: int = START_NS

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return self.now_ns / 1e9


@dataclass
class Writer:
    """Makes the wire spans of one life of a run."""

    run_id: str = "order-17"
    name: str = "w1"
    project: str = "shop"
    attempt: int = 1
    seq: int = 0
    generation: int = 0

    @property
    def trace(self) -> TraceId:
        return trace_id(self.project, self.run_id, self.generation)

    @property
    def root(self) -> bytes:
        return scope_node_id(self.trace, ROOT_SCOPE)

    def span(
        self,
        kind: RecordKind,
        node: bytes,
        attributes: dict[str, Scalar] | None = None,
        *,
        parent: bytes | None = None,
        name: str = "charge",
        failed: bool = False,
        state: bytes = b"",
        texts: tuple[tuple[str, bytes], ...] = (),
        writer: str | None = None,
    ) -> WireSpan:
        self.seq += 1
        resource: dict[str, Scalar] = {
            names.PROJECT: self.project,
            names.RUN_ID: self.run_id,
            names.GENERATION: self.generation,
            names.ATTEMPT: self.attempt,
            names.EPOCH: self.attempt,
            names.TAG_PREFIX + "tier": "gold",
        }
        at = START_NS + self.seq * 1_000_000
        span = JournalSpan(
            resource=resource_bytes(resource),
            trace_id=self.trace,
            node_id=node,
            parent_id=self.root if parent is None else parent,
            name=name,
            started_ns=at,
            ended_ns=0 if kind is RecordKind.STARTED else at + 5_000_000,
            failed=failed,
            fixed=b"",
            attributes={names.RECORD: kind.value, **(attributes or {})},
            texts=texts,
        )
        return wire_span(span, self.name if writer is None else writer, self.seq, state)

    def started(
        self, node: bytes, *, effect: bool = True, given: bytes = b'{"cents": 4200}', kind: str = "TOOL"
    ) -> WireSpan:
        attributes: dict[str, Scalar] = {
            names.NODE_TYPE: kind,
            names.SCOPE: ROOT_SCOPE,
            names.CALL_KEY: node.hex(),
            names.TRY: 0,
            names.EFFECT: effect,
        }
        return self.span(RecordKind.STARTED, node, attributes, texts=((names.TOOL_ARGUMENTS, given),))

    def ended(self, node: bytes, output: bytes = b'"ok"', *, failed: bool = False) -> WireSpan:
        attributes: dict[str, Scalar] = {names.NODE_TYPE: "TOOL", names.CALL_KEY: node.hex(), names.EFFECT: True}
        return self.span(RecordKind.ENDED, node, attributes, failed=failed, texts=((names.TOOL_RESULT, output),))

    def checkpoint(self, number: int, state: bytes = STATE) -> WireSpan:
        attributes: dict[str, Scalar] = {names.SCOPE: ROOT_SCOPE, names.CHECKPOINT_ID: f"c{number}"}
        return self.span(RecordKind.CHECKPOINT, self.root, attributes, parent=b"", state=state)

    def settled(self, node: bytes, how: str, output: bytes = b"") -> WireSpan:
        attributes: dict[str, Scalar] = {names.SETTLED: how, names.EFFECT: True, names.NODE_TYPE: "TOOL"}
        texts = ((names.TOOL_RESULT, output),) if output else ()
        return self.span(RecordKind.SETTLED, node, attributes, failed=how != "done", texts=texts, writer="")

    def lease(self, event: str) -> WireSpan:
        attributes: dict[str, Scalar] = {names.LEASE_EVENT: event}
        return self.span(RecordKind.LEASE, self.root, attributes, parent=b"", name=f"lease {event}", writer="")

    def root_record(self, kind: RecordKind, *, failed: bool = False) -> WireSpan:
        attributes: dict[str, Scalar] = {names.NODE_TYPE: "BRANCH", names.SCOPE: ROOT_SCOPE}
        return self.span(kind, self.root, attributes, parent=b"", name="run", failed=failed)


def node(number: int) -> bytes:
    """Return a node id."""
    return number.to_bytes(8, "big")


def request(*spans: WireSpan) -> bytes:
    """Return the bytes of a request."""
    return export_request(spans)


@dataclass
class Stand:
    """One life. `held` says which runs have a holder: all or none."""

    folder: Path
    disk: Disk | None = None
    faults: Callable[[str], None] = lambda _step: None
    held: bool = False
    crowded: bool = False
    clock: StoppedClock = field(default_factory=StoppedClock)
    publish_records: int = 4000
    publish_s: float = 2.0

    def __post_init__(self) -> None:
        self.log = open_log(self.folder / "log", segment_bytes=1 << 20, disk=self.disk)
        self.hot = HotTier(publish_records=self.publish_records)
        self.reader = LakeReader()
        self.recycled: list[int] = []
        self.publisher = Publisher(
            self.folder / "lake",
            self.hot,
            self.log,
            str(self.log.uuid),
            self.reader,
            Publishing(
                self.publish_s,
                held=lambda _trace: self.held,
                crowded=lambda: self.crowded,
                recycle=self.recycled.append,
                clock=self.clock,
                disk=self.disk or SystemDisk(),
                faults=self.faults,
            ),
        )
        frames = self.log.frames(1)
        self.publisher.recover(
            (Request(frame.payload).records(frame.first_seq), frame.ref, len(frame.payload)) for frame in frames
        )
        self.history = History(self.hot, self.reader, self.log)

    def send(self, *spans: WireSpan) -> list[Record]:
        """Acknowledge and index one request."""
        payload = request(*spans)
        [appended] = self.log.append([Entry(payload, len(spans))])
        records = Request(payload).records(appended.first_seq)
        self.hot.add(records, appended.ref, len(payload))
        return records

    def publish(self, *, last: bool = False) -> int:
        return self.publisher.publish_once(last=last)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the views over what is published alone."""
        with duckdb.connect() as connection:
            connection.execute((self.folder / "lake" / "views.sql").read_text())
            return connection.execute(sql).fetchall()

    def crash(self) -> None:
        """End this life without a word."""
        self.log.close()
        self.reader.close()
