"""Rows of `nodes` back to records: what is read back says what the record said, and an end brings its started record
along.

An input or output comes back by the name that is usual for its type, whichever of the two it was sent by. What lies
in the content table comes back as a `Stored`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from livespan.collector.lake.rows import ATTRIBUTE_COLUMNS, INPUT_NAMES, OUTPUT_NAMES, Stored
from livespan.collector.lake.schema import NODE_COLUMNS
from livespan.proto import attributes as names
from livespan.proto.node import NodeStatus, NodeType
from livespan.proto.record import AttributeValue, Large, Record, RecordKind

__all__ = ["READ_COLUMNS", "records_of"]

READ_COLUMNS: Final = tuple(
    name for name, kind in NODE_COLUMNS.items() if kind != "time" and name not in ("latency_ms", "root")
)
"""The columns that a record is read back from."""

_ONLY_ENDED: Final = frozenset(
    {
        *OUTPUT_NAMES,
        *(name for column, name in ATTRIBUTE_COLUMNS.items() if column.startswith("error")),
        *(name for column, name in ATTRIBUTE_COLUMNS.items() if column.endswith("_tokens")),
        names.NOT_DONE,
        names.UNRECORDABLE,
        names.ISSUED,
    }
)
"""What a started record that is read back from its end's row cannot have said."""


class _Tagged(msgspec.Struct):
    base64: bytes | None = None
    digest: str = ""
    size_bytes: int = 0


_read_attributes = msgspec.json.Decoder(dict[str, str | int | float | bool | _Tagged | None]).decode
_read_tags = msgspec.json.Decoder(dict[str, str]).decode
_read_links = msgspec.json.Decoder(tuple[str, ...]).decode


def records_of(row: Mapping[str, object]) -> list[Record]:
    """Return what a row tells: its record, and before it the node's started record where the row was completed from
    one.
    """
    kind = RecordKind(_text(row, "kind"))
    attributes: dict[str, AttributeValue] = {names.RECORD: kind.value}
    for column, name in ATTRIBUTE_COLUMNS.items():
        value = row[column]
        if isinstance(value, str | int):
            attributes[name] = value
    tool = row["type"] == NodeType.TOOL.value
    _take(row, "input", attributes, INPUT_NAMES[tool])
    _take(row, "output", attributes, OUTPUT_NAMES[tool])
    size = row["state_size_bytes"]
    if isinstance(size, int):
        attributes[names.STATE] = Stored(-1, size, _text(row, "state_digest"))
    rest = _text(row, "attributes")
    if rest:
        _untag(_read_attributes(rest), attributes)
    raw: bytes | Large = b""
    if kind is RecordKind.FOREIGN:
        raw = Stored(-1, _int(row, "span_size_bytes"), _text(row, "span_digest"))
    record = Record(
        kind=kind,
        project=_text(row, "project"),
        run_id=_text(row, "run_id"),
        generation=_int(row, "generation"),
        trace_id=bytes.fromhex(_text(row, "trace_id")),
        node_id=bytes.fromhex(_text(row, "node_id")),
        parent_id=bytes.fromhex(_text(row, "parent_id")),
        name=_text(row, "name"),
        started_ns=_int(row, "started_ns"),
        ended_ns=_int(row, "ended_ns"),
        attributes=attributes,
        session=_text(row, "session"),
        tags=_read_tags(tags) if (tags := _text(row, "tags")) else {},
        attempt=_int(row, "attempt"),
        epoch=_int(row, "epoch"),
        writer=_text(row, "writer"),
        writer_seq=_int(row, "writer_seq"),
        log_seq=_int(row, "log_seq"),
        failed=row["status"] == NodeStatus.FAILED.value,
        links=_read_links(links) if (links := _text(row, "links")) else (),
        raw=raw,
    )
    started_seq = _int(row, "started_seq")
    if kind is RecordKind.ENDED and started_seq:
        return [_started(record, started_seq), record]
    return [record]


def _started(record: Record, log_seq: int) -> Record:
    attributes = {name: value for name, value in record.attributes.items() if name not in _ONLY_ENDED}
    attributes[names.RECORD] = RecordKind.STARTED.value
    return Record(
        kind=RecordKind.STARTED,
        project=record.project,
        run_id=record.run_id,
        generation=record.generation,
        trace_id=record.trace_id,
        node_id=record.node_id,
        parent_id=record.parent_id,
        name=record.name,
        started_ns=record.started_ns,
        ended_ns=0,
        attributes=attributes,
        session=record.session,
        tags=record.tags,
        attempt=record.attempt,
        epoch=record.epoch,
        log_seq=log_seq,
        links=record.links,
    )


def _take(row: Mapping[str, object], column: str, attributes: dict[str, AttributeValue], name: str) -> None:
    value, size = row[column], row[f"{column}_size_bytes"]
    if isinstance(value, str):
        attributes[name] = value
    elif isinstance(size, int):
        attributes[name] = Stored(-1, size, _text(row, f"{column}_digest"))


def _untag(
    read: Mapping[str, str | int | float | bool | _Tagged | None], attributes: dict[str, AttributeValue]
) -> None:
    for name, value in read.items():
        if isinstance(value, _Tagged):
            attributes[name] = Stored(-1, value.size_bytes, value.digest) if value.base64 is None else value.base64
        elif value is not None:
            attributes[name] = value


def _text(row: Mapping[str, object], column: str) -> str:
    value = row[column]
    return value if isinstance(value, str) else ""


def _int(row: Mapping[str, object], column: str) -> int:
    value = row[column]
    return value if isinstance(value, int) else 0
