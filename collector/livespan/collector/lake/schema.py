"""The columns of the lake's two tables. How a record becomes a row of `nodes` is rows.py's.

`nodes` has one row per published record (a started row is left out where its end is in the same batch: the end is
then the whole node). Scalars are columns, JSON is text, times are UTC microseconds with the exact nanoseconds beside
them. `content` holds what is large: inputs and outputs over 16 KB, states, foreign spans; `nodes` names them by
SHA-256 digest and size.

The lake's format version is in each table's `livespan.format` property; see FORMAT.md.
"""

from __future__ import annotations

from typing import Final

from livespan.collector.arrow import arrow_schema

__all__ = ["CONTENT", "CONTENT_COLUMNS", "FORMAT_VERSION", "NODES", "NODE_COLUMNS", "WIDE_COLUMNS"]

FORMAT_VERSION: Final = 1

NODE_COLUMNS: Final[dict[str, str]] = {
    # which run, which node
    "project": "text",
    "run_id": "text",
    "generation": "int",
    "session": "text",
    "tags": "text",  # JSON object of strings
    "kind": "text",  # record.RecordKind
    "trace_id": "text",
    "node_id": "text",
    "parent_id": "text",
    "root": "flag",  # the run's root BRANCH
    "links": "text",  # JSON list of node ids; of another trace: "trace id/span id"
    "type": "text",  # PROMPT | TOOL | MEMORY | BRANCH
    "name": "text",
    "status": "text",  # RUNNING | SUCCESS | FAILED, "" for what is no node
    "started_at": "time",
    "ended_at": "time",
    "started_ns": "int",
    "ended_ns": "int",
    "latency_ms": "float",
    # content: text where small, else digest and size
    "input": "text",  # JSON
    "input_digest": "text",
    "input_size_bytes": "int",
    "output": "text",  # JSON
    "output_digest": "text",
    "output_size_bytes": "int",
    "error_type": "text",
    "error_message": "text",
    "error_traceback": "text",
    "error_value": "text",  # JSON, the exception by codec
    "error_node": "text",  # on a scope's end: whose error ended it
    # the model's and the tool's own words
    "input_tokens": "int",
    "output_tokens": "int",
    "cache_read_tokens": "int",
    "cache_write_tokens": "int",
    "reasoning_tokens": "int",
    "model": "text",
    "provider": "text",
    "tool_name": "text",
    "tool_call_id": "text",
    # identity and effect
    "effect": "flag",
    "not_done": "flag",
    "unrecordable": "flag",
    "settled": "text",  # done | not_done, on settled rows
    "settled_by": "text",
    "idempotency_key": "text",
    "call_key": "text",
    "call_digest": "text",
    "issued": "text",  # JSON list of tool call ids
    "scope": "text",
    "occurrence": "int",
    "attempt": "int",
    "try_number": "int",
    "epoch": "int",
    "framework": "text",
    "metadata": "text",  # JSON
    # checkpoint, lease, gap, attempt, foreign
    "checkpoint_id": "text",
    "checkpoint_counters": "text",  # JSON
    "state_digest": "text",
    "state_size_bytes": "int",
    "lease_event": "text",
    "span_digest": "text",  # a foreign span as it came
    "span_size_bytes": "int",
    "attributes": "text",  # JSON: every attribute that has no column
    # order
    "writer": "text",
    "writer_seq": "int",
    "log_id": "text",
    "log_seq": "int",
    "started_seq": "int",  # log_seq of the node's started record
}

CONTENT_COLUMNS: Final[dict[str, str]] = {
    "project": "text",
    "run_id": "text",
    "node_id": "text",
    "log_id": "text",
    "log_seq": "int",
    "kind": "text",  # input | output | state | span | attribute
    "name": "text",  # the attribute it came from
    "digest": "text",  # SHA-256, hex
    "size_bytes": "int",
    "bytes": "bytes",
}

WIDE_COLUMNS: Final = ("input", "output", "error_message", "error_traceback", "error_value", "attributes", "metadata")
"""Of `nodes`: text of any length, hardly ever the same twice."""

NODES: Final = arrow_schema(NODE_COLUMNS)
CONTENT: Final = arrow_schema(CONTENT_COLUMNS)
