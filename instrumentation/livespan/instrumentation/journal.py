"""The journal of one run in one process: which records are written, with which attributes, and into the spool how.

What a call costs the agent's thread is spent here: one packed tuple and one append each for its start and its end.
What never changes for a call site is serialised once (`CallSite.fixed`), what never changes for a life is its
resource.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.core import Live, Scope
from livespan.instrumentation.masking import Field, Mask, Masking
from livespan.instrumentation.outbound import EntryKind, encode_head
from livespan.instrumentation.said_once import say_dropped
from livespan.instrumentation.spool import Spool
from livespan.proto import attributes as names
from livespan.proto.clock import wall_ns
from livespan.proto.codec import encode_exception
from livespan.proto.errors import SpoolFull
from livespan.proto.ids import NodeId, TraceId
from livespan.proto.node import NodeType
from livespan.proto.record import RecordKind
from livespan.proto.span import JournalSpan, Scalar, WireSpan, attribute_bytes, wire_span

__all__ = ["RESERVE_BYTES", "Journal"]

RESERVE_BYTES: Final = 16 * 1024
"""Room that a started record keeps for its end; a larger end is let past the caps."""
_TRACEBACK_CHARS: Final = 8 * 1024
_MESSAGE_CHARS: Final = 4 * 1024


_BRANCH: Final = attribute_bytes({names.NODE_TYPE: NodeType.BRANCH.value})


class Journal:
    """Writes the records of one run. Thread-safe; writes nothing by itself.

    Args:
        spool: this process's.
        trace_id: of the run.
        resource: serialised OTLP Resource of this life.
        unfinished: paths of scopes that earlier lives entered and did not leave.
        caller: attributes that name the span which the run was opened in; they stand on its root.
        mask: takes out of records what must not be recorded; see masking.py.
        mirror: told of each record that was written.

    Attributes:
        unrecorded: how many calls ran without a record, by scope, for want of room.
        masks: whether there is a mask.
    """

    def __init__(
        self,
        spool: Spool,
        trace_id: TraceId,
        resource: bytes,
        unfinished: frozenset[str] = frozenset(),
        caller: Mapping[str, Scalar] | None = None,
        mask: Mask | None = None,
        mirror: Callable[[JournalSpan], None] | None = None,
    ) -> None:
        self.unrecorded: Counter[str] = Counter()
        self._spool = spool
        self._trace_id = trace_id
        self._resource = resource
        self._unfinished = unfinished
        self._caller = caller or {}
        self.masks = mask is not None
        self._masking = Masking(mask)
        self._mirror = mirror
        self._gaps: dict[str, tuple[NodeId, int]] = {}
        self._gap_lock = threading.Lock()

    def masked_input(self, site: CallSite, data: bytes) -> bytes:
        """Return an input as it is recorded."""
        return self._masking.json(data, Field.INPUT, site.name) if self.masks else data

    def started(self, scope: Scope, site: CallSite, live: Live, data: bytes, started_ns: int) -> bool:
        """Write a call's started record, with room kept for its end; return whether there was room."""
        try:
            self.announce(scope)
            self._append(self._started(scope, site, live, data, started_ns), reserve=RESERVE_BYTES)
        except SpoolFull as error:
            self.lost(scope, error)
            return False
        return True

    def lost(self, scope: Scope, error: SpoolFull) -> None:
        """Count a record that had no room, and say so once; the scope is marked `gap` as soon as there is some."""
        say_dropped("steps are not recorded, and are asked again if the run is resumed", error)
        with self._gap_lock:
            self.unrecorded[scope.path] += 1
            _, count = self._gaps.get(scope.path, (scope.node_id, 0))
            self._gaps[scope.path] = (scope.node_id, count + 1)

    def take_back_promise(self) -> None:
        """Give back the room that `started_wire` kept, where the effect does not start after all."""
        self._spool.give_back(RESERVE_BYTES)

    def started_wire(self, scope: Scope, site: CallSite, live: Live, data: bytes, started_ns: int) -> WireSpan:
        """Return an effect's started record for the barrier; it goes to the collector at once, not through the spool.

        Raises:
            SpoolFull: there is no room for the end of such a call, so it must not start.
        """
        self.announce(scope)
        writer, seq = self._spool.promise(RESERVE_BYTES)
        span = self._started(scope, site, live, data, started_ns)
        if self._mirror is not None:
            self._mirror(span)
        return wire_span(span, writer, seq)

    def ended(
        self,
        scope: Scope,
        site: CallSite,
        live: Live,
        data: bytes,
        told: Told,
        notes: Mapping[str, Scalar],
        started_ns: int,
    ) -> None:
        """Write a call's end with its result."""
        attributes = self._end_attributes(site, live, notes)
        if told.attributes:
            attributes.update(told.attributes)
        if told.issued:
            attributes[names.ISSUED] = msgspec.json.encode(told.issued).decode()
        if site.mask_output:
            data = self._masked_output(site, data, attributes)
        self._end(scope, site, live, started_ns, False, attributes, ((site.output_name, data),))

    def ended_unrecordable(self, scope: Scope, site: CallSite, live: Live, reason: str, started_ns: int) -> None:
        """Write the end of a call that succeeded with a result that no codec holds."""
        attributes = self._end_attributes(site, live, {})
        attributes[names.UNRECORDABLE] = True
        attributes[names.ERROR_MESSAGE] = self._masking.text(reason, Field.ERROR, site.name)[:_MESSAGE_CHARS]
        self._end(scope, site, live, started_ns, False, attributes, ())

    def failed(
        self,
        scope: Scope,
        site: CallSite,
        live: Live,
        error: BaseException,
        *,
        not_done: bool,
        cancelled: bool,
        notes: Mapping[str, Scalar],
        started_ns: int,
        retry_after_s: float | None = None,
    ) -> None:
        """Write a call's end with the error that it raised.

        Args:
            retry_after_s: the call is tried again, so long after this end; None: its error is the call's outcome.
        """
        attributes = self._end_attributes(site, live, notes)
        attributes.update(self._error_attributes(site.name, error))
        if retry_after_s is not None:
            attributes[names.RETRY_AFTER_S] = float(retry_after_s)
        if not_done:
            attributes[names.NOT_DONE] = True
        if cancelled:
            attributes[names.CANCELLED] = True
        value = encode_exception(error)
        texts: tuple[tuple[str, bytes], ...] = ()
        if value is not None:
            texts = ((names.ERROR_VALUE, self._masking.json(value, Field.ERROR, site.name)),)
        self._end(scope, site, live, started_ns, True, attributes, texts)

    def scope_ended(
        self,
        scope: Scope,
        error: BaseException | None,
        nodes: tuple[NodeId, ...],
        more: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Write a BRANCH's end; `nodes` are the tries whose error ended it."""
        if not scope.announced and scope.path not in self._unfinished:
            return  # nothing was called in it, or all of it was answered and its end is recorded
        try:
            attributes: dict[str, Scalar] = {names.RECORD: RecordKind.ENDED.value, names.SCOPE: scope.path}
            attributes.update(more or {})
            if error is not None:
                attributes.update(self._error_attributes(scope.path, error))
            if nodes:
                attributes[names.ERROR_NODE] = ",".join([node.hex() for node in nodes])
            self._append(self._branch(scope, attributes, 0, wall_ns(), failed=error is not None))
        except SpoolFull as full:
            # A branch's end is for people: what was claimed in it says the rest.
            say_dropped("the ends of runs and branches are not recorded", full)

    def checkpoint(self, scope: Scope, node_id: NodeId, checkpoint_id: str, state: bytes) -> None:
        """Write a checkpoint. When this returns the state survives the process.

        Raises:
            SpoolFull: no room within the budget; the state was not kept.
        """
        now = wall_ns()
        self.announce(scope)
        attributes: dict[str, Scalar] = {
            names.RECORD: RecordKind.CHECKPOINT.value,
            names.SCOPE: scope.path,
            names.CHECKPOINT_ID: checkpoint_id,
            names.CHECKPOINT_COUNTERS: msgspec.json.encode(scope.place()).decode(),
        }
        span = JournalSpan(self._resource, self._trace_id, node_id, b"", "checkpoint", now, now, False, b"", attributes)
        self._append(span, body=state)

    def settled(self, scope: Scope, site: CallSite, node_id: NodeId, by: str, data: bytes | None) -> None:
        """Write what a probe found: a result, or that the effect was not done (None)."""
        now = wall_ns()
        attributes: dict[str, Scalar] = {
            names.RECORD: RecordKind.SETTLED.value,
            names.SCOPE: scope.path,
            names.SETTLED: "not_done" if data is None else "done",
            names.SETTLED_BY: by,
        }
        if data is not None and site.mask_output:
            data = self._masked_output(site, data, attributes)
        texts = () if data is None else ((site.output_name, data),)
        span = JournalSpan(
            self._resource,
            self._trace_id,
            node_id,
            scope.node_id,
            site.name,
            now,
            now,
            data is None,
            site.fixed,
            attributes,
            texts,
        )
        self._append(span)

    def _started(self, scope: Scope, site: CallSite, live: Live, data: bytes, started_ns: int) -> JournalSpan:
        attributes: dict[str, Scalar] = {
            names.RECORD: RecordKind.STARTED.value,
            names.SCOPE: scope.path,
            names.CALL_KEY: live.key,
            names.CALL_DIGEST: live.call.digest,
            names.OCCURRENCE: live.occurrence,
            names.TRY: live.try_number,
        }
        if live.call.call_id:
            attributes[names.TOOL_CALL_ID] = live.call.call_id
        if site.effect:
            attributes[names.IDEMPOTENCY_KEY] = live.idempotency_key
        return JournalSpan(
            self._resource,
            self._trace_id,
            live.node_id,
            scope.node_id,
            site.name,
            started_ns,
            0,
            False,
            site.fixed,
            attributes,
            ((site.input_name, self.masked_input(site, data) if self.masks else data),),
        )

    def _end_attributes(self, site: CallSite, live: Live, notes: Mapping[str, Scalar]) -> dict[str, Scalar]:
        attributes: dict[str, Scalar] = {
            names.RECORD: RecordKind.ENDED.value,
            names.CALL_KEY: live.key,
            names.TRY: live.try_number,
            **notes,
        }
        told = notes.get(names.METADATA) if self.masks else None
        if isinstance(told, str):
            attributes[names.METADATA] = self._masking.json(told.encode(), Field.METADATA, site.name).decode()
        return attributes

    def _masked_output(self, site: CallSite, data: bytes, attributes: dict[str, Scalar]) -> bytes:
        """Return a result as it is recorded, and mark one that can no longer be given back."""
        masked = self._masking.json(data, Field.OUTPUT, site.name)
        if masked != data:
            attributes[names.UNRECORDABLE] = True
        return masked

    def _error_attributes(self, name: str, error: BaseException) -> dict[str, Scalar]:
        kind = type(error)
        text = "".join(traceback.format_exception(kind, error, error.__traceback__))
        return {
            names.ERROR_TYPE: f"{kind.__module__}.{kind.__qualname__}",
            names.ERROR_MESSAGE: self._masking.text(str(error), Field.ERROR, name)[:_MESSAGE_CHARS],
            names.ERROR_TRACEBACK: self._masking.text(text, Field.ERROR, name)[-_TRACEBACK_CHARS:],
        }

    def _end(
        self,
        scope: Scope,
        site: CallSite,
        live: Live,
        started_ns: int,
        failed: bool,
        attributes: dict[str, Scalar],
        texts: tuple[tuple[str, bytes], ...],
    ) -> None:
        span = JournalSpan(
            self._resource,
            self._trace_id,
            live.node_id,
            scope.node_id,
            site.name,
            started_ns,
            wall_ns(),
            failed,
            site.fixed,
            attributes,
            texts,
        )
        self._append(span, consumes=RESERVE_BYTES)

    def announce(self, scope: Scope) -> None:
        """Write the BRANCH nodes that must stand before a call of this scope, and what it has missed recording."""
        if not scope.announced:
            for due in scope.announce():
                self._append(
                    self._branch(due, {names.RECORD: RecordKind.STARTED.value, names.SCOPE: due.path}, wall_ns(), 0)
                )
        if self._gaps:
            self._tell_gap(scope)

    def _tell_gap(self, scope: Scope) -> None:
        with self._gap_lock:
            told = self._gaps.pop(scope.path, None)
        if told is None:
            return
        node_id, count = told
        now = wall_ns()
        attributes: dict[str, Scalar] = {
            names.RECORD: RecordKind.GAP.value,
            names.SCOPE: scope.path,
            names.UNRECORDED: count,
        }
        try:
            self._append(
                JournalSpan(self._resource, self._trace_id, node_id, b"", "gap", now, now, False, b"", attributes)
            )
        except SpoolFull:
            with self._gap_lock:
                _, more = self._gaps.get(scope.path, (node_id, 0))
                self._gaps[scope.path] = (node_id, count + more)
            raise

    def _branch(
        self, scope: Scope, attributes: dict[str, Scalar], started_ns: int, ended_ns: int, failed: bool = False
    ) -> JournalSpan:
        parent = b""
        if scope.parent is not None:
            parent = scope.parent.node_id
        else:
            attributes.update(self._caller)
        name = scope.path.rpartition("/")[2] or "run"
        return JournalSpan(
            self._resource,
            self._trace_id,
            scope.node_id,
            parent,
            name,
            started_ns,
            ended_ns,
            failed,
            _BRANCH,
            attributes,
        )

    def _append(
        self,
        span: JournalSpan,
        *,
        body: bytes = b"",
        reserve: int = 0,
        consumes: int = 0,
    ) -> None:
        self._spool.append(encode_head(span), body, kind=EntryKind.JOURNAL, reserve=reserve, consumes=consumes)
        if self._mirror is not None:
            self._mirror(span)
