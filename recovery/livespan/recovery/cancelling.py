"""Cancelling a run: whether it may be, the record that says so, and who is refused by it.

    Cancel ─▶ record in the log ─┬─ a process holds the run: its permission for effects ends at once, its next renewal
                                 │  tells it, and its next step raises `Cancelled`
                                 └─ nobody does: the next `Hold` reads the record and refuses, `RunCancelled`

A run that is done stays done: there is nothing left in it to be cancelled. `if_finished="new"` begins the next
generation of a cancelled run's id, which is another run.
"""

from __future__ import annotations

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Conflict, RunCancelled
from livespan.proto.ids import ROOT_SCOPE, TraceId, scope_node_id
from livespan.proto.life import life_resource
from livespan.proto.record import RecordKind
from livespan.proto.span import JournalSpan, export_request, wire_span
from livespan.recovery.leases import LeaseEvent

__all__ = ["cancel_request", "refuse_cancelled"]


def cancel_request(run: RunHistory, by: str, now_ns: int) -> bytes:
    """Return the request that records that a run is cancelled.

    Args:
        by: who says so.

    Raises:
        Conflict: the run is done, or no program of ours runs it.
    """
    if not run.attempts:
        raise Conflict(
            "its spans came from a program that Livespan does not run, and cannot stop",
            subject=f"run {run.run_id}",
            hint="End the program itself.",
        )
    if run.finished:
        raise Conflict(
            "the run is done, so nothing of it is left to be cancelled",
            subject=f"run {run.run_id}",
            hint=f"`livespan runs show {run.run_id}` shows what it did.",
        )
    resource = life_resource(
        project=run.project,
        run_id=run.run_id,
        generation=run.generation,
        attempt=run.last_attempt,
        epoch=run.last_epoch,
    )
    span = JournalSpan(
        resource=resource,
        trace_id=run.trace_id,
        node_id=scope_node_id(TraceId(run.trace_id), ROOT_SCOPE),
        parent_id=b"",
        name="run cancelled",
        started_ns=now_ns,
        ended_ns=now_ns,
        failed=False,
        fixed=b"",
        attributes={
            names.RECORD: RecordKind.LEASE.value,
            names.LEASE_EVENT: LeaseEvent.CANCELLED.value,
            names.CANCELLED_BY: by or "cancel",
        },
    )
    return export_request([wire_span(span, "", 0)])


def refuse_cancelled(run: RunHistory | None, if_finished: str) -> None:
    """Raise RunCancelled where a run was cancelled before it was done, unless its id is to be begun anew."""
    if run is None or run.cancelled is None or run.finished or if_finished == "new":
        return
    raise RunCancelled(
        f"the run was cancelled ({run.cancelled.text(names.CANCELLED_BY)})",
        subject=f"run {run.run_id}",
        hint='Use another id, or run(ID, if_finished="new") to begin this one anew, from its first step.',
    )
