"""Why the newest life of a run that is not done is over, as its leases and its root tell it.

lease record              root              how
cancelled                 not ended well    cancelled    by a person
released, with a stop                       stopped      InDoubt, Divergence, ...: another start alone does not help
released                  FAILED            failed       an error left the run's block
released                  open              left         the block was left without an end of the run
died, expired                               died         the process is gone, or was not heard of any more
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from livespan.collector.query.engine import Reading
from livespan.collector.query.shapes import ShownEnding, ShownError, ShownNode
from livespan.collector.query.shown import Row, count_of, text_of
from livespan.collector.query.values import json_value
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, TraceId, scope_node_id, trace_id
from livespan.proto.node import NodeStatus, RunStatus

__all__ = ["ending_of"]

_LEASES: Final = """
    SELECT lease_event, error_type, error_message, attributes, started_at FROM records
    WHERE project = $1 AND run_id = $2 AND generation = $3 AND kind = 'lease' AND lease_event <> 'granted'
    ORDER BY log_seq DESC
"""
"""What ended leases of a run, newest first; and that it was cancelled."""
_IDLE: Final = """
    WITH run AS (
        SELECT * FROM records WHERE project = $1 AND run_id = $2 AND generation = $3
    ), progress AS (
        SELECT log_seq FROM run
        WHERE kind = 'settled' OR (kind = 'ended' AND status = 'SUCCESS' AND NOT coalesce(root, false))
        UNION ALL
        SELECT min(log_seq) FROM run WHERE kind = 'checkpoint' GROUP BY coalesce(state_digest, node_id)
    )
    SELECT count(*) AS lives FROM run
    WHERE kind = 'attempt' AND log_seq > (SELECT coalesce(max(log_seq), 0) FROM progress)
"""
"""How many lives of a run began after the last thing that was new: a call that is done, or another state."""
_OVER: Final = frozenset({RunStatus.INTERRUPTED, RunStatus.IN_DOUBT, RunStatus.FAILED, RunStatus.CANCELLED})
_GONE: Final = {"died": "its process is gone", "expired": "its process was not heard of for the time of its lease"}


def ending_of(reading: Reading, run: Row, status: str, nodes: Sequence[ShownNode]) -> ShownEnding | None:
    """Return why the newest life of a run is over; None where it lives, is done, or nothing is recorded of it.

    Args:
        run: its row of the view `runs`.
        status: how it stands, who holds it included.
        nodes: its nodes.
    """
    if status not in _OVER:
        return None
    which = [text_of(run, "project"), text_of(run, "run_id"), count_of(run, "generation")]
    leases = reading.rows(_LEASES, which)
    if status == RunStatus.CANCELLED:
        row = next((row for row in leases if row["lease_event"] == "cancelled"), None)
        by = _told(row).get(names.CANCELLED_BY, "") if row else ""
        return ShownEnding(how="cancelled", at=_time(row), message=str(by))
    row = next((row for row in leases if row["lease_event"] != "cancelled"), None)
    if row is None:
        return None
    event, told = text_of(row, "lease_event"), _told(row)
    if told.get(names.STOP_KIND):
        return ShownEnding(
            how="stopped",
            at=_time(row),
            name=text_of(row, "error_type"),
            message=text_of(row, "error_message"),
            subject=str(told.get(names.STOP_SUBJECT, "")),
            hint=str(told.get(names.STOP_HINT, "")),
        )
    idle = count_of(reading.rows(_IDLE, which)[0], "lives")
    if event != "released":
        return ShownEnding(how="died", at=_time(row), message=_GONE.get(event, event), idle_attempts=idle)
    error = _error_of_root(run, nodes)
    if error is not None:
        return ShownEnding(how="failed", at=_time(row), name=error.type, message=error.message, idle_attempts=idle)
    left = "its program left before the end of the run"
    return ShownEnding(how="left", at=_time(row), message=left, idle_attempts=idle)


def _error_of_root(run: Row, nodes: Sequence[ShownNode]) -> ShownError | None:
    """Return the error that left the run's block in its newest life."""
    trace = trace_id(text_of(run, "project"), text_of(run, "run_id"), count_of(run, "generation"))
    root_id = scope_node_id(TraceId(trace), ROOT_SCOPE).hex()
    for node in nodes:
        if node.node_id == root_id and node.status == NodeStatus.FAILED and node.attempt == run["attempts"]:
            return node.error
    return None


def _told(row: Row) -> Mapping[str, object]:
    text = text_of(row, "attributes")
    return msgspec.json.decode(text, type=dict[str, object]) if text else {}


def _time(row: Row | None) -> str | None:
    value = json_value(row["started_at"]) if row is not None else None
    return value if isinstance(value, str) else None
