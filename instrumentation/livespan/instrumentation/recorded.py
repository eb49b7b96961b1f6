"""What the collector tells of earlier lives: its columns as the core's history, and what a person should know of it."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from livespan.instrumentation.calls import RecordedFault, RecordedValue
from livespan.instrumentation.core import History, Outcome, Recorded, RunEnd, Settlement
from livespan.proto.ids import CallKey, NodeId
from livespan.proto.node import NodeType
from livespan.proto.v1 import livespan_pb2 as pb

__all__ = ["read_history", "remarks", "unfinished_scopes"]

_KINDS: Final = {kind.value: kind for kind in NodeType}
_OUTCOMES: Final = {
    "RUNNING": Outcome.STARTED,
    "SUCCESS": Outcome.SUCCEEDED,
    "FAILED": Outcome.FAILED,
    "CANCELLED": Outcome.CANCELLED,
}


def read_history(replies: Iterable[pb.OpenReply]) -> tuple[History, list[pb.OpenReply]]:
    """Fold the batches as they come, and return them too."""
    tries: list[Recorded] = []
    ends: list[RunEnd] = []
    gaps: list[str] = []
    seen: list[pb.OpenReply] = []
    with _no_collection():
        for reply in replies:
            seen.append(reply)
            tries.extend(_recorded(reply.calls))
            ends.extend(RunEnd(tuple(NodeId(node) for node in end.nodes), end.order) for end in reply.ends)
            gaps.extend(reply.gaps)
        return History(tries, ends=ends, gaps=gaps), seen


@contextmanager
def _no_collection() -> Generator[None]:
    """Hold the garbage collector off while many objects are made that all stay: it would walk them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _recorded(calls: pb.RecordedCalls) -> Iterator[Recorded]:
    """Yield the calls of one batch; branches are scopes and are not among them."""
    whats = zip(calls.node_id, calls.call_key, calls.scope, calls.type, calls.name, calls.digest, strict=True)
    places = zip(calls.tool_call_id, calls.occurrence, calls.try_number, strict=True)
    times = zip(calls.started_order, calls.started_ns, calls.order, calls.ended_ns, strict=True)
    endings = zip(calls.status, calls.output, calls.large, calls.error, calls.issued, strict=True)
    doubts = zip(calls.effect, calls.settled, calls.not_done, calls.unrecordable, calls.conflict, strict=True)
    for what, place, time, ending, doubt in zip(whats, places, times, endings, doubts, strict=True):
        node_id, key, scope, kind, name, digest = what
        if not key:
            continue
        call_id, occurrence, try_number = place
        started_order, started_ns, order, ended_ns = time
        status, output, large, error, issued = ending
        effect, settled, not_done, unrecordable, conflict = doubt
        outcome = _OUTCOMES[status]
        fault = msgspec.json.decode(error, type=RecordedFault) if error else None
        yield Recorded(
            key=CallKey(key),
            node_id=NodeId(node_id),
            kind=_KINDS[kind],
            name=name,
            scope=scope,
            digest=digest,
            call_id=call_id,
            occurrence=occurrence,
            try_number=try_number,
            effect=effect,
            outcome=outcome,
            settled=Settlement(settled) if settled else None,
            not_done=not_done,
            conflict=conflict,
            unrecordable=unrecordable,
            retry_after_s=fault.retry_after_s if fault is not None else None,
            order=started_order,
            ended_order=order if outcome is not Outcome.STARTED else 0,
            started_ns=started_ns,
            ended_ns=ended_ns,
            issued=tuple(msgspec.json.decode(issued, type=list[str])) if issued else (),
            output=RecordedValue(output, large),
            error=fault,
        )


def unfinished_scopes(replies: list[pb.OpenReply]) -> frozenset[str]:
    """Return the paths of the scopes that earlier lives entered and did not leave; a BRANCH is no call and has no
    key.
    """
    return frozenset(
        scope
        for reply in replies
        for scope, key, status in zip(reply.calls.scope, reply.calls.call_key, reply.calls.status, strict=True)
        if not key and status == "RUNNING"
    )


def remarks(replies: list[pb.OpenReply], grant: pb.HoldReply) -> list[str]:
    """Return what a person should know of the record: what of it is damaged, and what was not seen."""
    said = [damage for reply in replies for damage in reply.damaged]
    if grant.tail_unknown:
        said.append(
            "the last life's spool was not seen here: what it did after its last acknowledged record is asked again"
        )
    return said
