"""The row of a record that no row could be made of: which record it was, and why nothing else is known of it.

Nothing that anybody sends should come to this; the fuzz tests see to that. Where something does, one record is told by
its names alone (its bytes are in the log until that is recycled), and all others are published as ever.
"""

from __future__ import annotations

from typing import Final

import msgspec

from livespan.proto.record import Record

__all__ = ["REASON", "bare_row"]

REASON: Final = "livespan.unpublished"
"""In `attributes`: what kept the rest of the record from being published."""
_INT64: Final = 1 << 63


def bare_row(record: Record, log_id: str, error: Exception) -> dict[str, object]:
    """Return a row of `nodes` that holds under any record whatever."""
    told = f"{type(error).__name__}: {error}"[:1000]
    return {
        "project": _text(record.project),
        "run_id": _text(record.run_id),
        "generation": _number(record.generation),
        "kind": record.kind.value,
        "trace_id": record.trace_id.hex(),
        "node_id": record.node_id.hex(),
        "root": False,
        "name": _text(record.name),
        "status": "",
        "attempt": _number(record.attempt),
        "epoch": _number(record.epoch),
        "writer": _text(record.writer),
        "writer_seq": _number(record.writer_seq),
        "log_id": log_id,
        "log_seq": record.log_seq,
        "attributes": msgspec.json.encode({REASON: _text(told)}).decode(),
    }


def _text(value: str) -> str:
    return value.encode(errors="replace").decode()


def _number(value: int) -> int:
    return int(value) if -_INT64 <= value < _INT64 else 0
