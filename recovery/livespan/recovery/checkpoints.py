"""Which checkpoint a branch goes on from: the newest whose state can be read back as it was recorded.

    c3 damaged ─▶ c2 missing ─▶ c1 whole: c1 it is, and c3 and c2 are said, with why

`Open` hands it to the agent and the plan shows it to people; both ask here, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from livespan.proto import attributes as names
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.ids import ROOT_SCOPE
from livespan.proto.record import Record

__all__ = ["Chosen", "Content", "newest_valid"]

Content: TypeAlias = Callable[[Record, str], bytes]
"""Reads a value of a record, "state" for one; raises Damaged or NotFound where it is not what was recorded."""

_read_counters = msgspec.json.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was found for one branch.

    Attributes:
        record: the checkpoint; None where none is whole.
        state: its state.
        passed_over: each newer one that could not be read, and why: `checkpoint ID of scope S: reason`.
    """

    record: Record | None
    state: bytes
    passed_over: tuple[str, ...]


def newest_valid(records: Sequence[Record], content: Content) -> Chosen:
    """Return the first of these records, newest first, whose state and place are whole; no other content is read."""
    passed_over: list[str] = []
    for record in records:
        try:
            _read_counters(record.text(names.CHECKPOINT_COUNTERS) or "{}")
            return Chosen(record, content(record, "state"), tuple(passed_over))
        except (Damaged, NotFound) as error:
            passed_over.append(f"{_name(record)}: {error.message}")
        except msgspec.DecodeError:
            passed_over.append(f"{_name(record)}: its place in the program cannot be read")
    return Chosen(None, b"", tuple(passed_over))


def _name(record: Record) -> str:
    named = record.text(names.CHECKPOINT_ID) or f"at node {record.node_id.hex()}"
    return f"checkpoint {named} of scope {record.text(names.SCOPE) or ROOT_SCOPE}"
