"""A real Session, Core and Journal over a tape in memory: no spool, drain, collector or lease.

    with tape.life() as session: ...             a run's next life, from what the tape holds
    with tape.life(killed_after=7) as session:   it is killed as soon as the tape holds 7 records

Being killed is a BaseException at the write, and at every later one. What a real kill does beside it (threads that end
in the middle of a body) is not played; tests with real processes do that.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from livespan.instrumentation import branches
from livespan.instrumentation.branches import CURRENT
from livespan.instrumentation.calls import RecordedFault, RecordedValue
from livespan.instrumentation.core import Core, History, Outcome, Recorded, RunEnd, Settlement, origins
from livespan.instrumentation.journal import Journal
from livespan.instrumentation.outbound import EntryKind, decode_head
from livespan.instrumentation.permission import Permission
from livespan.instrumentation.session import SESSIONS, Session
from livespan.instrumentation.spool import Spool
from livespan.proto import attributes as names
from livespan.proto.errors import NotFound, RunStopped, Stop
from livespan.proto.ids import ROOT_SCOPE, CallKey, NodeId, trace_id
from livespan.proto.node import NodeType
from livespan.proto.span import WireSpan, resource_bytes, wire_span

__all__ = ["Killed", "Line", "Tape"]


class Killed(BaseException):
    """Where the process would be gone."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record, as a collector would read it from the wire."""

    node_id: NodeId
    parent_id: bytes
    name: str
    failed: bool
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.attributes[names.RECORD])

    @property
    def type(self) -> str:
        return str(self.attributes.get(names.NODE_TYPE, ""))

    @property
    def scope(self) -> str:
        return str(self.attributes.get(names.SCOPE, ""))


@dataclass
class Tape:
    """The record of one run over its lives."""

    lines: list[Line] = field(default_factory=list[Line])
    dead: bool = False
    killed_after: int | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def life(self, killed_after: int | None = None) -> Generator[Session]:
        """Open the run's next life for a block, and end it as `run()` does."""
        branches.install()
        self.dead, self.killed_after = False, killed_after
        core = Core(trace_id("tests", "run"), self.history(), run_id="run")
        journal = Journal(cast("Spool", _TapeSpool(self)), core.trace, resource_bytes({names.PROJECT: "tests"}))
        session = Session(core, journal, cast("Permission", _TapePermission(self)), self._fetch)
        journal.announce(core.root)
        SESSIONS[core.trace] = session
        token = CURRENT.set(core.root)
        try:
            try:
                yield session
            except BaseException as error:
                self._close(session, error)
                raise
            self._close(session, None)
        finally:
            CURRENT.reset(token)
            SESSIONS.pop(core.trace, None)

    def _close(self, session: Session, error: BaseException | None) -> None:
        if self.dead:
            return
        try:
            session.core.finish(error)
            if error is None or isinstance(error, Exception):
                nodes = origins(error) if error is not None else ()
                session.journal.scope_ended(session.core.root, error, nodes)
        except Stop as stop:
            raise RunStopped(stop) from stop

    def write(self, wire: WireSpan) -> None:
        """Keep a record; past the end of this life, keep none."""
        with self._lock:
            if self.dead:
                raise Killed
            self.lines += _lines(wire)
            if len(self.lines) == self.killed_after:
                self.dead = True
                raise Killed

    def calls(self, type_: NodeType, kind: str = "started") -> list[Line]:
        """Return the records of one kind of calls."""
        return [line for line in self.lines if line.type == type_ and line.kind == kind]

    def open_calls(self) -> list[Line]:
        """Return the starts of the calls that have no end."""
        ended = {line.node_id for line in self.lines if line.kind != "started"}
        return [
            line
            for line in self.lines
            if line.kind == "started" and line.type != NodeType.BRANCH and line.node_id not in ended
        ]

    def scopes(self, type_: NodeType) -> list[str]:
        """Return the scopes in which calls were made, sorted."""
        return sorted(line.scope for line in self.calls(type_))

    def history(self) -> History:
        """Return what a collector would send when the run is opened again."""
        tries: dict[NodeId, Recorded] = {}
        ends: list[RunEnd] = []
        for order, line in enumerate(self.lines, 1):
            said = line.attributes
            if line.type == NodeType.BRANCH:
                if line.kind == "ended" and line.scope == ROOT_SCOPE and line.failed:
                    nodes = filter(None, str(said.get(names.ERROR_NODE, "")).split(","))
                    ends.append(RunEnd(tuple(NodeId(bytes.fromhex(node)) for node in nodes), order))
            elif line.kind == "started":
                tries[line.node_id] = _started(line, order)
            elif line.kind == "settled":
                settled = Settlement(said[names.SETTLED])
                value = RecordedValue(str(said.get(names.TOOL_RESULT, "null")).encode())
                tries[line.node_id] = msgspec.structs.replace(tries[line.node_id], settled=settled, output=value)
            else:
                tries[line.node_id] = _ended(tries[line.node_id], line, order)
        return History(tries.values(), ends=ends)

    def _fetch(self, node_id: NodeId, what: str) -> bytes:
        for line in self.lines:
            if line.node_id == node_id:
                for name in (
                    (names.INPUT, names.TOOL_ARGUMENTS) if what == "input" else (names.OUTPUT, names.TOOL_RESULT)
                ):
                    if name in line.attributes:
                        return str(line.attributes[name]).encode()
        raise NotFound(what, subject=node_id.hex())


class _TapeSpool:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._seq = 0

    def append(self, head: bytes, body: bytes = b"", *, kind: EntryKind, reserve: int = 0, consumes: int = 0) -> None:
        assert kind is EntryKind.JOURNAL
        del reserve, consumes
        self._seq += 1
        self._tape.write(wire_span(decode_head(head), "writer", self._seq, body))

    def promise(self, size: int) -> tuple[str, int]:
        del size
        self._seq += 1
        return "writer", self._seq

    def give_back(self, size: int) -> None:
        del size


class _TapePermission:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def ask(self, started: WireSpan) -> bool:
        self._tape.write(started)
        return True


def _lines(wire: WireSpan) -> Iterator[Line]:
    for span in ScopeSpans.FromString(b"".join(wire.parts)).spans:
        attributes: dict[str, Any] = {}
        for pair in span.attributes:
            which = pair.value.WhichOneof("value")
            assert which is not None
            attributes[pair.key] = getattr(pair.value, which)
        times = (span.start_time_unix_nano, span.end_time_unix_nano)
        yield Line(NodeId(span.span_id), span.parent_span_id, span.name, span.status.code == 2, *times, attributes)


def _started(line: Line, order: int) -> Recorded:
    said = line.attributes
    return Recorded(
        key=CallKey(said[names.CALL_KEY]),
        node_id=line.node_id,
        kind=NodeType(line.type),
        name=line.name,
        scope=line.scope,
        digest=said[names.CALL_DIGEST],
        call_id=said.get(names.TOOL_CALL_ID, ""),
        occurrence=said[names.OCCURRENCE],
        try_number=said[names.TRY],
        effect=said.get(names.EFFECT, False),
        order=order,
        started_ns=line.started_ns,
    )


def _ended(started: Recorded, line: Line, order: int) -> Recorded:
    said = line.attributes
    output = said.get(names.OUTPUT, said.get(names.TOOL_RESULT))
    fault = (
        RecordedFault(said[names.ERROR_TYPE], said[names.ERROR_MESSAGE], "", said.get(names.ERROR_VALUE, ""))
        if line.failed
        else None
    )
    outcome = Outcome.SUCCEEDED
    if line.failed:
        outcome = Outcome.CANCELLED if said.get(names.CANCELLED) else Outcome.FAILED
    return msgspec.structs.replace(
        started,
        outcome=outcome,
        ended_order=order,
        ended_ns=line.ended_ns,
        not_done=said.get(names.NOT_DONE, False),
        retry_after_s=said.get(names.RETRY_AFTER_S),
        unrecordable=said.get(names.UNRECORDABLE, False),
        issued=tuple(msgspec.json.decode(said.get(names.ISSUED, "[]"), type=list[str])),
        output=None if output is None else RecordedValue(output.encode()),
        error=fault,
    )
