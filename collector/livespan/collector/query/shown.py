"""One row of the views `runs` and `nodes` as its shape (shapes.py): names, types, NULLs. Nothing is derived here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, cast

import msgspec

from livespan.collector.query.shapes import Reuse, RunSummary, ShownError, ShownNode, ShownTokens
from livespan.collector.query.values import json_value

__all__ = ["Row", "count_of", "node_from_row", "number_of", "run_from_row", "text_of"]

Row: TypeAlias = Mapping[str, object]

_NULL: Final = msgspec.Raw(b"null")


def run_from_row(row: Row, *, status: str, in_doubt: int) -> RunSummary:
    """Return a run; `status` and `in_doubt` (a number of nodes) as the caller knows better."""
    return RunSummary(
        run_id=text_of(row, "run_id"),
        project=text_of(row, "project"),
        session=text_of(row, "session"),
        tags=_tags(row),
        status=status,
        nodes=count_of(row, "nodes"),
        effects=count_of(row, "effects"),
        in_doubt=in_doubt,
        input_tokens=count_of(row, "input_tokens"),
        output_tokens=count_of(row, "output_tokens"),
        started_at=_time(row, "started_at"),
        ended_at=_time(row, "ended_at"),
    )


def node_from_row(row: Row, *, state_digest: str, in_doubt: bool, conflict: bool, reuse: Reuse) -> ShownNode:
    """Return a node with what the caller derived for it."""
    failed = row["error_type"] or row["error_message"]
    return ShownNode(
        project=text_of(row, "project"),
        run_id=text_of(row, "run_id"),
        node_id=text_of(row, "node_id"),
        parent_id=text_of(row, "parent_id"),
        links=_links(row),
        type=text_of(row, "type"),
        name=text_of(row, "name"),
        status=text_of(row, "status"),
        started_at=_time(row, "started_at"),
        ended_at=_time(row, "ended_at"),
        latency_ms=cast("float | None", json_value(row["latency_ms"])),
        input=_json(row, "input"),
        output=_json(row, "output"),
        error=ShownError(text_of(row, "error_type"), text_of(row, "error_message"), text_of(row, "error_traceback"))
        if failed
        else None,
        tokens=ShownTokens(
            input=number_of(row, "input_tokens"),
            output=number_of(row, "output_tokens"),
            cache_read=number_of(row, "cache_read_tokens"),
            cache_write=number_of(row, "cache_write_tokens"),
            reasoning=number_of(row, "reasoning_tokens"),
        ),
        model=text_of(row, "model"),
        provider=text_of(row, "provider"),
        tool_name=text_of(row, "tool_name"),
        tool_call_id=text_of(row, "tool_call_id"),
        effect=bool(row["effect"]),
        idempotency_key=text_of(row, "idempotency_key"),
        call_key=text_of(row, "call_key"),
        scope=text_of(row, "scope"),
        occurrence=count_of(row, "occurrence"),
        attempt=count_of(row, "attempt"),
        try_number=count_of(row, "try_number"),
        epoch=count_of(row, "epoch"),
        framework=text_of(row, "framework"),
        tags=_tags(row),
        metadata=_json(row, "metadata" if row["kind"] != "foreign" or row["metadata"] else "attributes"),
        state_digest=state_digest,
        writer=text_of(row, "writer"),
        writer_seq=count_of(row, "writer_seq"),
        log_seq=count_of(row, "log_seq"),
        input_digest=text_of(row, "input_digest"),
        output_digest=text_of(row, "output_digest"),
        in_doubt=in_doubt,
        conflict=conflict,
        reuse=reuse,
        settled=text_of(row, "settled"),
        settled_by=text_of(row, "settled_by"),
    )


def _time(row: Row, name: str) -> str | None:
    value = json_value(row[name])
    return value if isinstance(value, str) else None


def _json(row: Row, name: str) -> msgspec.Raw:
    """Return JSON text as it stands, digit for digit; text that is none (a foreign span's) as a JSON string."""
    text = text_of(row, name)
    if not text:
        return _NULL
    data = text.encode()
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:
        data = msgspec.json.encode(text)
    return msgspec.Raw(data)


def _tags(row: Row) -> dict[str, str]:
    text = text_of(row, "tags")
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def _links(row: Row) -> list[str]:
    text = text_of(row, "links")
    return msgspec.json.decode(text, type=list[str]) if text else []


def text_of(row: Row, name: str) -> str:
    """Return a text column, NULL as ""."""
    value = row[name]
    return value if isinstance(value, str) else ""


def count_of(row: Row, name: str) -> int:
    """Return an integer column, NULL as 0."""
    return number_of(row, name) or 0


def number_of(row: Row, name: str) -> int | None:
    """Return an integer column, NULL as None."""
    value = row[name]
    return value if isinstance(value, int) else None
