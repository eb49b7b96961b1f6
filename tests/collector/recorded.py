"""Runs as records, for tests of reading: a small builder, and snapshots of what it built."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, TraceId, call_key, idempotency_key, node_id, scope_node_id, trace_id
from livespan.proto.record import AttributeValue, Record, RecordKind

START_NS = 1_769_850_000_000_000_000  # 2026-01-31 09:00:00 UTC


@dataclass
class FixedLake:
    """A lake that has what it was given, all of it hot unless files are named."""

    hot: list[Record] = field(default_factory=list[Record])
    nodes: Sequence[Path] = ()
    content: Sequence[Path] = ()
    touched: Collection[str] | None = None
    left_out: Sequence[Path] = ()

    @property
    def folders(self) -> Sequence[Path]:
        return sorted({path.parent for path in (*self.nodes, *self.content)})

    def snapshot(self, of: Collection[str] | None = None, *, content: bool = False, whole: bool = True) -> FixedLake:
        del of, content, whole
        return self


@dataclass
class RunBuilder:
    """Appends the records of one run to a list, as a collector would have numbered them."""

    records: list[Record]
    run_id: str
    project: str = "shop"
    session: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    generation: int = 0
    attempt: int = 1
    started_ns: int = START_NS
    _nodes: dict[str, Record] = field(default_factory=dict[str, Record])

    @property
    def trace(self) -> TraceId:
        return trace_id(self.project, self.run_id, self.generation)

    @property
    def root(self) -> bytes:
        return scope_node_id(self.trace, ROOT_SCOPE)

    def open_root(self) -> None:
        self._add(RecordKind.STARTED, self.root, b"", self.run_id, {names.NODE_TYPE: "BRANCH"}, 0)

    def end_root(self, *, failed: bool = False) -> None:
        ended: dict[str, AttributeValue] = {names.NODE_TYPE: "BRANCH"}
        if failed:
            ended |= {names.ERROR_TYPE: "builtins.ValueError", names.ERROR_MESSAGE: "no stock"}
        self._add(RecordKind.ENDED, self.root, b"", self.run_id, ended, 2000, failed=failed)

    def start(
        self,
        name: str,
        kind: str = "TOOL",
        *,
        effect: bool = False,
        given: str = "{}",
        try_number: int = 0,
        parent: bytes = b"",
    ) -> bytes:
        """Record the start of a call and return its node id."""
        key = call_key(ROOT_SCOPE, kind, name, blake2b(given.encode()).hexdigest()[:32], "", 0)
        node = node_id(self.trace, key, try_number)
        attributes: dict[str, AttributeValue] = {
            names.NODE_TYPE: kind,
            names.CALL_KEY: key,
            names.SCOPE: ROOT_SCOPE,
            names.TRY: try_number,
            names.OCCURRENCE: 0,
            names.INPUT: given,
            names.EFFECT: effect,
        }
        if kind == "TOOL":
            attributes[names.TOOL_NAME] = name
        if effect:
            attributes[names.IDEMPOTENCY_KEY] = idempotency_key(self.trace, key)
        self._add(RecordKind.STARTED, node, parent or self.root, name, attributes, 0)
        return node

    def end(
        self,
        node: bytes,
        output: str = '"ok"',
        *,
        took_ms: int = 12,
        error: str = "",
        tokens: tuple[int, int] | None = None,
    ) -> None:
        """Record the end of a call."""
        started = self._nodes[node.hex()]
        attributes = dict(started.attributes)
        attributes[names.OUTPUT] = output
        if error:
            attributes |= {names.ERROR_TYPE: error, names.ERROR_MESSAGE: "it did not work"}
        if tokens is not None:
            attributes |= {names.INPUT_TOKENS: tokens[0], names.OUTPUT_TOKENS: tokens[1], names.MODEL: "small-model"}
        self._add(RecordKind.ENDED, node, started.parent_id, started.name, attributes, took_ms, failed=bool(error))

    def settle(self, node: bytes, how: str, output: str = "") -> None:
        """Record that doubt was settled by hand."""
        started = self._nodes[node.hex()]
        attributes = {**started.attributes, names.SETTLED: how, names.SETTLED_BY: "resolve"}
        if output:
            attributes[names.TOOL_RESULT] = output
        self._add(RecordKind.SETTLED, node, started.parent_id, started.name, attributes, 1, failed=how != "done")

    def call(
        self, name: str, kind: str = "PROMPT", *, tokens: tuple[int, int] | None = None, took_ms: int = 812
    ) -> bytes:
        """Record a call that ended well."""
        node = self.start(name, kind)
        self.end(node, took_ms=took_ms, tokens=tokens)
        return node

    def _add(
        self,
        kind: RecordKind,
        node: bytes,
        parent: bytes,
        name: str,
        attributes: Mapping[str, AttributeValue],
        took_ms: int,
        *,
        failed: bool = False,
    ) -> None:
        seq = len(self.records) + 1
        at = self.started_ns + seq * 1_000_000_000
        first = self._nodes.get(node.hex())
        began = first.started_ns if first is not None else at
        record = Record(
            kind=kind,
            project=self.project,
            run_id=self.run_id,
            generation=self.generation,
            trace_id=self.trace,
            node_id=node,
            parent_id=parent,
            name=name,
            started_ns=began,
            ended_ns=began + took_ms * 1_000_000 if kind is not RecordKind.STARTED else 0,
            attributes={names.RECORD: kind.value, **attributes},
            session=self.session,
            tags=self.tags,
            attempt=self.attempt,
            epoch=self.attempt,
            writer="w1",
            writer_seq=seq,
            log_seq=seq,
            failed=failed,
        )
        self._nodes.setdefault(node.hex(), record)
        self.records.append(record)


def interrupted_run(records: list[Record], run_id: str = "order-17") -> RunBuilder:
    """A run in its second attempt: one thought recorded, one asked again, a mail sent, a card in doubt."""
    run = RunBuilder(records, run_id, session="chat-9", tags={"tier": "gold"})
    run.open_root()
    run.call("think", tokens=(1204, 56))
    run.start("plan", "PROMPT")
    run.attempt = 2
    run.end(run.start("plan", "PROMPT", try_number=1), took_ms=640, tokens=(310, 41))
    run.end(run.start("send_mail", effect=True), took_ms=20)
    run.start("charge_card", effect=True, given='{"cents": 4200}')
    return run
