"""Records to rows of `nodes`. The way back is read_back.py's.

    started ─┐ an end takes from its started record what it does not repeat: input, times, keys
    ended   ─┴▶ one row, kind "ended", the whole node                 started alone ─▶ a row of kind "started"

A value that lies in the content table has digest and size in its row; in a record it is a `Stored` then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final, TypeAlias

import msgspec

from livespan.collector.arrow import ArrowError, ArrowTable, arrow_table, joined
from livespan.collector.lake.bare import REASON, bare_row
from livespan.collector.lake.breather import no_pause
from livespan.collector.lake.schema import NODE_COLUMNS, NODES, WIDE_COLUMNS
from livespan.proto import attributes as names
from livespan.proto.errors import LivespanError
from livespan.proto.ids import ROOT_SCOPE, TraceId, scope_node_id
from livespan.proto.node import NodeStatus, NodeType
from livespan.proto.record import AttributeValue, Large, Record, RecordKind

__all__ = [
    "ATTRIBUTE_COLUMNS",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "RAW",
    "Digest",
    "Row",
    "Stored",
    "fold",
    "folded_rows",
    "node_rows",
    "node_table",
    "row_tables",
    "rows_table",
]

RAW: Final = "raw"
"""What a foreign span's own bytes are called, beside the attributes."""
INPUT_NAMES: Final = (names.INPUT, names.TOOL_ARGUMENTS)
OUTPUT_NAMES: Final = (names.OUTPUT, names.TOOL_RESULT)
_PART_ROWS: Final = 1024
"""As a dict a row takes three times the room; and while Arrow makes a column, no other thread of the process runs."""
_PART_CHARACTERS: Final = 32 * 1024 * 1024
_LONG: Final = (*WIDE_COLUMNS, "name", "tags", "links")
_INT64_MAX: Final = (1 << 63) - 1
_MISFITS: Final = (ArrowError, TypeError, ValueError, OverflowError)
"""What Arrow says of a value that its column cannot hold."""

Row: TypeAlias = dict[str, object]
_get: Final = dict[str, object].get
Digest: TypeAlias = Callable[[Record, str], str]
"""The SHA-256 (hex) of a record's large value, by attribute name; "" where it is not known yet."""

_TEXTS: Final = {
    names.NODE_TYPE: "type",
    names.ERROR_TYPE: "error_type",
    names.ERROR_MESSAGE: "error_message",
    names.ERROR_TRACEBACK: "error_traceback",
    names.ERROR_VALUE: "error_value",
    names.ERROR_NODE: "error_node",
    names.MODEL: "model",
    names.PROVIDER: "provider",
    names.TOOL_NAME: "tool_name",
    names.TOOL_CALL_ID: "tool_call_id",
    names.SETTLED: "settled",
    names.SETTLED_BY: "settled_by",
    names.IDEMPOTENCY_KEY: "idempotency_key",
    names.CALL_KEY: "call_key",
    names.CALL_DIGEST: "call_digest",
    names.ISSUED: "issued",
    names.SCOPE: "scope",
    names.FRAMEWORK: "framework",
    names.METADATA: "metadata",
    names.CHECKPOINT_ID: "checkpoint_id",
    names.CHECKPOINT_COUNTERS: "checkpoint_counters",
    names.LEASE_EVENT: "lease_event",
}
_INTS: Final = {
    names.INPUT_TOKENS: "input_tokens",
    names.OUTPUT_TOKENS: "output_tokens",
    names.CACHE_READ_TOKENS: "cache_read_tokens",
    names.CACHE_WRITE_TOKENS: "cache_write_tokens",
    names.REASONING_TOKENS: "reasoning_tokens",
    names.OCCURRENCE: "occurrence",
    names.TRY: "try_number",
}
_FLAGS: Final = {names.EFFECT: "effect", names.NOT_DONE: "not_done", names.UNRECORDABLE: "unrecordable"}
_COLUMNS: Final[dict[tuple[str, type], str]] = {
    **{(name, str): column for name, column in _TEXTS.items()},
    **{(name, int): column for name, column in _INTS.items()},
    **{(name, bool): column for name, column in _FLAGS.items()},
}
ATTRIBUTE_COLUMNS: Final = {column: name for name, column in (_TEXTS | _INTS | _FLAGS).items()}
"""Columns that hold an attribute as it is, and its name."""


class Stored(Large, frozen=True):
    """A value in the content table, by its SHA-256 (hex)."""

    digest: str = ""


def fold(records: Iterable[Record]) -> Iterator[tuple[Record, Record | None]]:
    """Yield (record, its started record or None) of what gets a row: everything but the started records that an end
    covers.
    """
    listed = list(records)
    ends: dict[tuple[bytes, bytes], int] = {}
    starts: dict[tuple[bytes, bytes], Record] = {}
    for record in listed:
        key = (record.trace_id, record.node_id)
        if record.kind is RecordKind.ENDED:
            ends[key] = max(ends.get(key, 0), record.log_seq)
        elif record.kind is RecordKind.STARTED:
            known = starts.get(key)
            if known is None or record.log_seq < known.log_seq:
                starts[key] = record
    for record in listed:
        key = (record.trace_id, record.node_id)
        if record.kind is RecordKind.ENDED:
            started = starts.get(key)
            yield record, started if started is not None and started.log_seq < record.log_seq else None
        elif record.kind is not RecordKind.STARTED or ends.get(key, 0) < record.log_seq:
            yield record, None


def node_rows(records: Iterable[Record], log_id: str, digest: Digest) -> list[Row]:
    """Return the rows of records, in their order; `digest` says what large values are called."""
    return list(folded_rows(fold(records), log_id, digest))


def folded_rows(
    folded: Iterable[tuple[Record, Record | None]],
    log_id: str,
    digest: Digest,
    breathe: Callable[[], object] = no_pause,
) -> Iterator[Row]:
    """Yield the row of each record that `fold` has yielded; one that no row can be made of gets a bare one."""
    for record, started in folded:
        breathe()
        try:
            row = _row(record, started, log_id, digest)
        except (LivespanError, OSError):
            raise  # the log's or the disk's trouble, not this record's
        except Exception as error:  # noqa: BLE001  # a border: what one client sent must not keep the rest from the lake
            row = bare_row(record, log_id, error)
        yield row


def row_tables(rows: Iterable[Row]) -> Iterator[ArrowTable]:
    """Yield rows as Arrow, a part at a time; no more rows are held than that takes."""
    part: list[Row] = []
    size = 0
    for row in rows:
        part.append(row)
        for column in _LONG:
            value = row.get(column)
            if type(value) is str:
                size += len(value)
        if len(part) == _PART_ROWS or size >= _PART_CHARACTERS:
            yield rows_table(part)
            part, size = [], 0
    if part:
        yield rows_table(part)


def rows_table(rows: Sequence[Row]) -> ArrowTable:
    """Return rows as Arrow, in the columns of `nodes`."""
    try:
        return _table(rows)
    except _MISFITS:
        return _table([_fitting(row) for row in rows])


def _table(rows: Sequence[Row]) -> ArrowTable:
    there = frozenset[str]().union(*rows)
    count = len(rows)
    return arrow_table(
        NODES, (list(map(_get, rows, repeat(name))) if name in there else count for name in NODE_COLUMNS)
    )


def _fitting(row: Row) -> Row:
    """Return a row without the values that its columns cannot hold, and with the reason."""
    try:
        _table([row])
    except _MISFITS as error:
        kept: Row = {}
        for column, value in row.items():
            try:
                _table([{column: value}])
            except _MISFITS:
                continue
            kept[column] = value
        kept["attributes"] = msgspec.json.encode({REASON: str(error)[:1000]}).decode()
        return kept
    return row


def node_table(records: Sequence[Record]) -> ArrowTable:
    """Return records that are not published yet as rows of `nodes`; their large values have sizes and no digests
    yet.
    """
    tables = list(row_tables(folded_rows(fold(records), "", lambda _record, _name: "")))
    return joined(tables) if tables else rows_table([])


def _row(record: Record, started: Record | None, log_id: str, digest: Digest) -> Row:
    kind = record.kind
    attributes = _named(record, digest)
    first = record
    if started is not None:
        attributes = {**_named(started, digest), **attributes}
        first = started
    started_ns, ended_ns = _ns(first.started_ns or record.started_ns), _ns(record.ended_ns)
    if kind is RecordKind.STARTED:
        ended_ns = None
    row: Row = {
        "project": record.project,
        "run_id": record.run_id,
        "generation": record.generation,
        "session": record.session or first.session or None,
        "tags": _json(record.tags or first.tags),
        "kind": kind.value,
        "trace_id": record.trace_id.hex(),
        "node_id": record.node_id.hex(),
        "parent_id": (record.parent_id or first.parent_id).hex() or None,
        "root": _is_root(record),
        "links": _json(record.links or first.links),
        "name": record.name or first.name,
        "status": _status(record),
        "started_at": None if started_ns is None else started_ns // 1000,
        "ended_at": None if ended_ns is None else ended_ns // 1000,
        "started_ns": started_ns,
        "ended_ns": ended_ns,
        "latency_ms": None if started_ns is None or ended_ns is None else max(ended_ns - started_ns, 0) / 1e6,
        "attempt": record.attempt,
        "epoch": record.epoch,
        "writer": record.writer,
        "writer_seq": record.writer_seq,
        "log_id": log_id,
        "log_seq": record.log_seq,
        "started_seq": record.log_seq if kind is RecordKind.STARTED else None if started is None else started.log_seq,
    }
    rest: dict[str, object] = {}
    for name, value in attributes.items():
        column = _COLUMNS.get((name, type(value)))
        if column is not None:
            row[column] = value
        elif name != names.RECORD:
            rest[name] = value
    if kind is RecordKind.FOREIGN:
        _put(row, "span", {RAW: _stored(record, RAW, record.raw, digest)}, (RAW,))
        row.setdefault("type", NodeType.BRANCH.value)
    tool = row.get("type") == NodeType.TOOL.value
    _put(row, "input", rest, INPUT_NAMES[::-1] if tool else INPUT_NAMES)
    _put(row, "output", rest, OUTPUT_NAMES[::-1] if tool else OUTPUT_NAMES)
    _put(row, "state", rest, (names.STATE,))
    row["attributes"] = _json({name: _tagged(value) for name, value in rest.items()})
    return row


def _named(record: Record, digest: Digest) -> Mapping[str, AttributeValue]:
    """Return the attributes with each large value named by its digest."""
    values = record.attributes
    for value in values.values():  # any() over a generator costs twice as much
        if type(value) is Large:
            return {name: _stored(record, name, value, digest) for name, value in values.items()}
    return values


def _stored(record: Record, name: str, value: AttributeValue, digest: Digest) -> AttributeValue:
    return Stored(value.span, value.size_bytes, digest(record, name)) if type(value) is Large else value


def _put(
    row: Row, column: str, rest: dict[str, object] | dict[str, AttributeValue], candidates: tuple[str, ...]
) -> None:
    """Move the first of the candidates that is there into its columns: text, or digest and size."""
    for name in candidates:
        value = rest.get(name)
        if isinstance(value, Stored):
            row[f"{column}_digest"] = value.digest or None
            row[f"{column}_size_bytes"] = value.size_bytes
        elif isinstance(value, str) and column in NODE_COLUMNS:
            row[column] = value
        else:
            continue
        del rest[name]
        return


def _status(record: Record) -> str:
    kind = record.kind
    if kind is RecordKind.STARTED:
        return NodeStatus.RUNNING.value
    if kind is RecordKind.SETTLED:
        return (NodeStatus.SUCCESS if record.text(names.SETTLED) == "done" else NodeStatus.FAILED).value
    if kind is RecordKind.ENDED or kind is RecordKind.FOREIGN:
        return (NodeStatus.FAILED if record.failed else NodeStatus.SUCCESS).value
    return ""


def _is_root(record: Record) -> bool:
    if record.kind not in (RecordKind.STARTED, RecordKind.ENDED) or record.parent_id:
        return False
    return record.node_id == scope_node_id(TraceId(record.trace_id), ROOT_SCOPE)


def _ns(value: int) -> int | None:
    return value if 0 < value <= _INT64_MAX else None


def _json(value: object) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def _tagged(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": value}
    if isinstance(value, Large):
        return {"digest": value.digest if isinstance(value, Stored) else "", "size_bytes": value.size_bytes}
    return value
