"""How a run stands, for who starts its program again: does it get on, where is it, what stopped it, who has it.

Progress is what a later life finds done: calls that ended well or were settled as done, and states. A call that was
only started, or that failed, is none: a program that dies in the same call for ever makes no progress, however many
records it writes.
"""

from __future__ import annotations

from typing import Final

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.holder import holder_message
from livespan.proto.node import NodeType
from livespan.proto.record import Record, RecordKind
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.lease_record import stop_of
from livespan.recovery.leases import Lease

__all__ = ["standing_of"]

_AT_THE_START: Final = ("before its first step", "start")


def standing_of(run: RunHistory | None, held: Lease | None) -> pb.StandingReply:
    """Return how a run stands; `held` is the lease of who has it."""
    if run is None:
        return pb.StandingReply(place=_AT_THE_START[0], place_key=_AT_THE_START[1])
    place, key = _place(run)
    return pb.StandingReply(
        finished=run.finished,
        attempts=run.last_attempt,
        generation=run.generation,
        holder=holder_message(held.holder, held.spool_id, held.lock) if held is not None else None,
        stopped=stop_of(run.last_lease),
        progress=_progress(run),
        place=place,
        place_key=key,
        cancelled=_cancelled_by(run),
    )


def _cancelled_by(run: RunHistory) -> str:
    if run.cancelled is None or run.finished:
        return ""
    return run.cancelled.text(names.CANCELLED_BY) or "cancel"


def _progress(run: RunHistory) -> int:
    done = {_key(newest, started) for newest, started in run.calls.values() if _is_done(newest)}
    # A life that goes over recorded calls takes its checkpoints again: only a state that was not there before counts.
    states = {record.text(names.STATE_DIGEST) for records in run.checkpoints.values() for record in records}
    return len(done) + len(states)


def _is_done(record: Record) -> bool:
    if record.kind is RecordKind.SETTLED:
        return record.text(names.SETTLED) == "done"
    return record.kind is RecordKind.ENDED and not record.failed


def _place(run: RunHistory) -> tuple[str, str]:
    """Return where the newest life stood, for people and as a key: in a call, else after the last one that is done."""
    in_call: Record | None = None
    after: Record | None = None
    for newest, started in run.calls.values():
        first = started or newest
        if first.text(names.NODE_TYPE) == NodeType.BRANCH:
            continue
        if _is_done(newest):
            after = newest if after is None or newest.log_seq > after.log_seq else after
        elif first.attempt == run.last_attempt and (in_call is None or newest.log_seq > in_call.log_seq):
            in_call = newest
    record, word = (in_call, "in") if in_call is not None else (after, "after")
    if record is None:
        return _AT_THE_START
    first = run.calls[record.node_id][1] or record
    kind = first.text(names.NODE_TYPE)
    return f"{word} {kind} {first.name}", f"{word} {_key(record, first)}"


def _key(newest: Record, started: Record | None) -> str:
    """Return what is the same for every try of a call."""
    return (started or newest).text(names.CALL_KEY) or newest.node_id.hex()
