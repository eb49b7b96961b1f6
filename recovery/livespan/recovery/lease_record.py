"""Leases and attempts as records: what recovery itself writes into the log, and how it reads it back at start."""

from __future__ import annotations

import msgspec

from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, TraceId, attempt_node_id, scope_node_id
from livespan.proto.life import life_resource
from livespan.proto.process import ProcessId
from livespan.proto.record import Record, RecordKind
from livespan.proto.span import JournalSpan, WireSpan, export_request, wire_span
from livespan.proto.v1.livespan_pb2 import Attempt, ErrorDetail
from livespan.recovery.leases import Lease, LeaseEvent

__all__ = ["attempt_request", "lease_from_record", "lease_request", "stop_of"]


def lease_request(
    lease: Lease, event: LeaseEvent, attempt: int, now_ns: int, stopped: ErrorDetail | None = None
) -> bytes:
    """Return the request that records what happened to a lease, and what stopped the life that had it."""
    return export_request([_lease_span(lease, event, _resource(lease, attempt), now_ns, stopped)])


def attempt_request(lease: Lease, number: int, attempt: Attempt, now_ns: int) -> bytes:
    """Return the request that records the grant of a lease and the beginning of a life, together."""
    resource = _resource(lease, number, attempt)
    trace = TraceId(lease.trace_id)
    life = JournalSpan(
        resource=resource,
        trace_id=trace,
        node_id=attempt_node_id(trace, number),
        parent_id=scope_node_id(trace, ROOT_SCOPE),
        name=f"attempt {number}",
        started_ns=now_ns,
        ended_ns=now_ns,
        failed=False,
        fixed=b"",
        attributes={
            names.RECORD: RecordKind.ATTEMPT.value,
            names.NODE_TYPE: "BRANCH",
            names.ARGV: msgspec.json.encode(list(attempt.argv)).decode(),
            names.CWD: attempt.cwd,
            names.ENVIRONMENT: msgspec.json.encode(sorted(attempt.environment)).decode(),
            names.FINGERPRINT: attempt.fingerprint,
        },
    )
    if attempt.user:
        life.attributes[names.USER] = attempt.user
    links = (attempt_node_id(trace, number - 1),) if number > 1 else ()
    granted = _lease_span(lease, LeaseEvent.GRANTED, resource, now_ns)
    return export_request([granted, wire_span(life, "", 0, links=links)])


def _lease_span(
    lease: Lease, event: LeaseEvent, resource: bytes, now_ns: int, stopped: ErrorDetail | None = None
) -> WireSpan:
    span = JournalSpan(
        resource=resource,
        trace_id=lease.trace_id,
        node_id=scope_node_id(TraceId(lease.trace_id), ROOT_SCOPE),
        parent_id=b"",
        name=f"lease {event.value}",
        started_ns=now_ns,
        ended_ns=now_ns,
        failed=False,
        fixed=b"",
        attributes={
            names.RECORD: RecordKind.LEASE.value,
            names.LEASE_EVENT: event.value,
            names.HOLDER: _holder(lease),
            **_stop_attributes(stopped),
        },
    )
    return wire_span(span, "", 0)


def lease_from_record(record: Record) -> tuple[LeaseEvent, Lease] | None:
    """Return the event and lease that a `lease` record tells of; None where it cannot be read."""
    try:
        event = LeaseEvent(record.text(names.LEASE_EVENT))
        told = msgspec.json.decode(record.text(names.HOLDER), type=dict[str, str | int])
        holder = ProcessId(
            int(told["pid"]),
            int(told["start_time_ticks"]),
            str(told["boot_id"]),
            int(told["pid_namespace"]),
            str(told["host"]),
        )
    except (ValueError, KeyError, msgspec.DecodeError):
        return None
    lease = Lease(
        trace_id=record.trace_id,
        project=record.project,
        run_id=record.run_id,
        generation=record.generation,
        epoch=record.epoch,
        holder=holder,
        spool_id=str(told.get("spool_id", "")),
        token=str(told.get("token", "")),
        lock=str(told.get("lock", "")),
        expires_s=0.0,
        cancelled=bool(told.get("cancelled", False)),
    )
    return event, lease


def stop_of(record: Record | None) -> ErrorDetail | None:
    """Return what stopped the life whose lease this record ends; None where it was none of our stops."""
    if record is None or record.text(names.LEASE_EVENT) != LeaseEvent.RELEASED or not record.text(names.STOP_KIND):
        return None
    return ErrorDetail(
        kind=record.text(names.STOP_KIND),
        name=record.text(names.ERROR_TYPE),
        message=record.text(names.ERROR_MESSAGE),
        subject=record.text(names.STOP_SUBJECT),
        hint=record.text(names.STOP_HINT),
    )


def _stop_attributes(stopped: ErrorDetail | None) -> dict[str, str]:
    if stopped is None:
        return {}
    return {
        names.STOP_KIND: stopped.kind,
        names.ERROR_TYPE: stopped.name,
        names.ERROR_MESSAGE: stopped.message,
        names.STOP_SUBJECT: stopped.subject,
        names.STOP_HINT: stopped.hint,
    }


def _resource(lease: Lease, number: int, attempt: Attempt | None = None) -> bytes:
    """Return the Resource of what is said of a lease, and of the life that begins with it."""
    return life_resource(
        project=lease.project,
        run_id=lease.run_id,
        generation=lease.generation,
        attempt=number,
        epoch=lease.epoch,
        session=attempt.session if attempt is not None else "",
        tags=attempt.tags if attempt is not None else None,
    )


def _holder(lease: Lease) -> str:
    """Return who holds a lease, as JSON."""
    process = lease.holder
    told: dict[str, str | int] = {
        "spool_id": lease.spool_id,
        "token": lease.token,
        "lock": lease.lock,
        "pid": process.pid,
        "start_time_ticks": process.start_time_ticks,
        "boot_id": process.boot_id,
        "pid_namespace": process.pid_namespace,
        "host": process.host,
    }
    if lease.cancelled:
        told["cancelled"] = 1  # said again when the log lets go of the record that said it first
    return msgspec.json.encode(told).decode()
