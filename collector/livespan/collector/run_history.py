"""What is known of one run, folded from its records: nodes, lives, checkpoints, what is missing.

Records may be added in any order. Of a node the newest record counts: settled > ended > started, then `log_seq`.
"""

from __future__ import annotations

from bisect import insort

from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, NodeId, TraceId, scope_node_id
from livespan.proto.record import RANK, Record, RecordKind

__all__ = ["RunHistory"]


def _log_seq(record: Record) -> int:
    return record.log_seq


class RunHistory:
    """One generation of a run.

    Attributes:
        trace_id: 16 bytes; of a run that came as foreign spans alone, that of the first.
        calls: by node id: its newest record, and its first started record where there is one (the same one while it
            is open).
        late_ends: by node id: an end that came after the node was settled; says the same or is a conflict.
        attempts: records of lives, in log order.
        foreign: spans of others, in log order.
        gaps: scopes in which calls ran unrecorded.
        last_epoch, last_attempt: the greatest of any record, 0 = none.
        last_lease: the newest lease record.
        cancelled: the record that says that the run was cancelled; None = it was not.
        thread: records of a thread, in log order; a run has none.
        root_ends: the ends of the run's root, of each life that came to one, in log order.
    """

    __slots__ = (
        "_checkpoints",
        "_root_id",
        "attempts",
        "calls",
        "cancelled",
        "foreign",
        "gaps",
        "generation",
        "last_attempt",
        "last_epoch",
        "last_lease",
        "late_ends",
        "project",
        "root_ends",
        "run_id",
        "thread",
        "trace_id",
    )

    def __init__(self, project: str, run_id: str, generation: int) -> None:
        self.project = project
        self.run_id = run_id
        self.generation = generation
        self.trace_id = b""
        self.calls: dict[bytes, tuple[Record, Record | None]] = {}
        self.late_ends: dict[bytes, Record] = {}
        self.attempts: list[Record] = []
        self.foreign: list[Record] = []
        self.gaps: list[str] = []
        self.last_epoch = 0
        self.last_attempt = 0
        self.last_lease: Record | None = None
        self.cancelled: Record | None = None
        self.root_ends: list[Record] = []
        self.thread: list[Record] = []
        self._checkpoints: dict[str, list[Record]] = {}
        self._root_id = NodeId(b"")

    @property
    def finished(self) -> bool:
        """Whether its root ended well; a run that failed may be resumed."""
        return bool(self.root_ends) and not self.root_ends[-1].failed

    @property
    def is_run(self) -> bool:
        """Whether anything of a run is here, and not a thread alone."""
        return bool(
            self.calls
            or self.attempts
            or self.foreign
            or self.last_lease
            or self.cancelled
            or self._checkpoints
            or self.gaps
        )

    @property
    def checkpoints(self) -> dict[str, list[Record]]:
        """Checkpoint records by scope, newest first."""
        return {scope: records[::-1] for scope, records in self._checkpoints.items()}

    def add(self, record: Record) -> None:
        """Take a record into account; about 1 us."""
        kind = record.kind
        if record.epoch > self.last_epoch:
            self.last_epoch = record.epoch
        if record.attempt > self.last_attempt:
            self.last_attempt = record.attempt
        if kind is RecordKind.FOREIGN:
            self.trace_id = self.trace_id or record.trace_id
            insort(self.foreign, record, key=_log_seq)
            return
        if not self._root_id:
            self.trace_id = record.trace_id
            self._root_id = scope_node_id(TraceId(record.trace_id), ROOT_SCOPE)
        if kind in RANK:
            self._add_call(record)
        elif kind is RecordKind.CHECKPOINT:
            insort(self._checkpoints.setdefault(record.text(names.SCOPE) or ROOT_SCOPE, []), record, key=_log_seq)
        elif kind is RecordKind.THREAD:
            insort(self.thread, record, key=_log_seq)
        elif kind is RecordKind.GAP:
            scope = record.text(names.SCOPE) or ROOT_SCOPE
            if scope not in self.gaps:
                self.gaps.append(scope)
        elif kind is RecordKind.LEASE:
            if record.text(names.LEASE_EVENT) == "cancelled":
                self.cancelled = self.cancelled or record
            elif self.last_lease is None or record.log_seq > self.last_lease.log_seq:
                self.last_lease = record
        else:
            insort(self.attempts, record, key=_log_seq)

    def copy(self) -> RunHistory:
        """Return the same, to be read while this one goes on."""
        other = RunHistory(self.project, self.run_id, self.generation)
        other.trace_id = self.trace_id
        other.calls = self.calls.copy()
        other.late_ends = self.late_ends.copy()
        other.attempts = self.attempts.copy()
        other.foreign = self.foreign.copy()
        other.gaps = self.gaps.copy()
        other.last_epoch = self.last_epoch
        other.last_attempt = self.last_attempt
        other.last_lease = self.last_lease
        other.cancelled = self.cancelled
        other.root_ends = self.root_ends.copy()
        other.thread = self.thread.copy()
        other._checkpoints = {scope: records.copy() for scope, records in self._checkpoints.items()}
        other._root_id = self._root_id
        return other

    def _add_call(self, record: Record) -> None:
        node, kind = record.node_id, record.kind
        known = self.calls.get(node)
        if known is None:
            self.calls[node] = (record, record if kind is RecordKind.STARTED else None)
        else:
            newest, started = known
            if kind is RecordKind.STARTED and (started is None or record.log_seq < started.log_seq):
                started = record
            if (RANK[kind], record.log_seq) > (RANK[newest.kind], newest.log_seq):
                newest = record
            elif kind is RecordKind.ENDED and newest.kind is RecordKind.SETTLED and record.log_seq > newest.log_seq:
                self.late_ends[node] = record
            self.calls[node] = (newest, started)
        if kind is RecordKind.ENDED and node == self._root_id:
            insort(self.root_ends, record, key=_log_seq)
