"""What a new life is told of the lives before it: recorded calls in batches, checkpoints, gaps, how the last life
ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.record import Large, Record, RecordKind
from livespan.proto.v1.livespan_pb2 import Checkpoint, OpenReply, RecordedCalls, RunEnd
from livespan.recovery.checkpoints import Content, newest_valid

__all__ = ["conflicts", "error_nodes", "open_replies", "status"]

_BATCH: Final = 2000
_UINT32_MAX: Final = (1 << 32) - 1
_NODE_ID: Final = re.compile("[0-9a-f]{16}")
_Call: TypeAlias = tuple[Record, Record | None]


def open_replies(run: RunHistory, content: Content) -> Iterator[OpenReply]:
    """Yield the replies of `Open` for a run: calls first, in log order, then the rest in one."""
    calls = sorted(run.calls.values(), key=lambda call: (call[1] or call[0]).log_seq)
    for first in range(0, len(calls), _BATCH):
        yield OpenReply(calls=_columns(run, calls[first : first + _BATCH]))
    checkpoints, damaged = _checkpoints(run, content)
    for checkpoint in checkpoints:
        yield OpenReply(checkpoints=[checkpoint])
    ends = run.root_ends
    yield OpenReply(
        gaps=run.gaps,
        damaged=damaged,
        ends=[RunEnd(nodes=error_nodes(end), order=end.log_seq) for end in ends if end.failed],
        ended_ns=ends[-1].ended_ns if ends else 0,
    )


def _columns(run: RunHistory, calls: list[_Call]) -> RecordedCalls:
    """Return calls as columns: upb takes a list a column at a time, ten times faster than a message a call."""
    firsts = [started or newest for newest, started in calls]
    newest = [call[0] for call in calls]
    outputs = [_output(record) for record in newest]
    return RecordedCalls(
        node_id=[record.node_id for record in firsts],
        call_key=_texts(firsts, names.CALL_KEY),
        scope=_texts(firsts, names.SCOPE),
        type=_texts(firsts, names.NODE_TYPE),
        name=[record.name for record in firsts],
        digest=_texts(firsts, names.CALL_DIGEST),
        tool_call_id=_texts(firsts, names.TOOL_CALL_ID),
        occurrence=[_ordinal(record, names.OCCURRENCE) for record in firsts],
        try_number=[_ordinal(record, names.TRY) for record in firsts],
        status=[status(record) for record in newest],
        effect=_flags(firsts, names.EFFECT),
        settled=_texts(newest, names.SETTLED),
        not_done=_flags(newest, names.NOT_DONE),
        unrecordable=_flags(newest, names.UNRECORDABLE),
        output=[b"" if isinstance(output, Large) else output for output in outputs],
        error=[_error(record) for record in newest],
        large=[isinstance(output, Large) for output in outputs],
        issued=_texts(newest, names.ISSUED),
        started_ns=[record.started_ns for record in firsts],
        order=[record.log_seq for record in newest],
        started_order=[record.log_seq for record in firsts],
        conflict=[conflicts(run, record) for record in newest],
        ended_ns=[0 if record.kind is RecordKind.STARTED else record.ended_ns for record in newest],
    )


def _texts(records: list[Record], name: str) -> list[str]:
    """Return a text attribute of each record; `Record.text` a thousand times over is most of what an opening costs."""
    return [value if type(value := record.attributes.get(name)) is str else "" for record in records]


def _flags(records: list[Record], name: str) -> list[bool]:
    return [record.attributes.get(name) is True for record in records]


def conflicts(run: RunHistory, settled: Record) -> bool:
    """Return whether an effect's own end, which came after it was settled, says otherwise than the settlement."""
    late = run.late_ends.get(settled.node_id)
    if late is None or settled.kind is not RecordKind.SETTLED:
        return False
    if settled.text(names.SETTLED) == "done":
        return late.flag(names.NOT_DONE)
    return not late.failed


def error_nodes(end: Record) -> list[bytes]:
    """Return the tries whose error ended a life, by its root's end; a name that is no node's id names none."""
    told = end.text(names.ERROR_NODE).split(",")
    return [bytes.fromhex(node) for node in told if _NODE_ID.fullmatch(node)]


def _ordinal(record: Record, name: str) -> int:
    """Return a number as the message can carry it: anybody may have sent the record."""
    return min(max(record.number(name) or 0, 0), _UINT32_MAX)


def status(record: Record) -> str:
    """Return how a call stands by its newest record: RUNNING, SUCCESS, FAILED or CANCELLED."""
    if record.kind is RecordKind.STARTED:
        return "RUNNING"
    if record.kind is RecordKind.SETTLED:
        return "SUCCESS" if record.text(names.SETTLED) == "done" else "FAILED"
    if record.flag(names.CANCELLED):
        return "CANCELLED"
    return "FAILED" if record.failed else "SUCCESS"


def _output(record: Record) -> bytes | Large:
    if record.kind is RecordKind.STARTED:
        return b""
    found = record.attributes.get(names.OUTPUT)
    if found is None:
        found = record.attributes.get(names.TOOL_RESULT, "")
    return found if isinstance(found, Large) else str(found).encode()


def _error(record: Record) -> bytes:
    if not record.failed:
        return b""
    told: dict[str, object] = {
        "type": record.text(names.ERROR_TYPE),
        "message": record.text(names.ERROR_MESSAGE),
        "traceback": record.text(names.ERROR_TRACEBACK),
        "value": record.text(names.ERROR_VALUE),
    }
    retry_after_s = record.attributes.get(names.RETRY_AFTER_S)
    if isinstance(retry_after_s, float):
        told["retry_after_s"] = retry_after_s
    return msgspec.json.encode(told)


def _checkpoints(run: RunHistory, content: Content) -> tuple[list[Checkpoint], list[str]]:
    """Return the newest valid checkpoint of each scope, and what was passed over on the way to it."""
    found: list[Checkpoint] = []
    damaged: list[str] = []
    for scope, records in run.checkpoints.items():
        chosen = newest_valid(records, content)
        damaged += chosen.passed_over
        record = chosen.record
        if record is not None:
            found.append(
                Checkpoint(
                    checkpoint_id=record.text(names.CHECKPOINT_ID),
                    node_id=record.node_id,
                    scope=scope,
                    order=record.log_seq,
                    counters=record.text(names.CHECKPOINT_COUNTERS),
                    state_digest=record.text(names.STATE_DIGEST),
                    state=chosen.state,
                )
            )
    return found, damaged
