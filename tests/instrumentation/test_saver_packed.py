"""The bytes of a thread's records, version 1, as they were written once: golden files, never edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from livespan.instrumentation.saver.packed import (
    VERSION,
    PackedCheckpoint,
    PackedValue,
    PackedWrites,
    pack,
    read_checkpoint,
    read_writes,
)
from livespan.proto.errors import Damaged, InvalidInput

GOLDEN = Path(__file__).parents[1] / "golden" / "thread-v1"
CHECKPOINT = PackedCheckpoint(
    VERSION,
    ("msgpack", b"\x80"),
    ("msgpack", b"\x81\xa4step\x01"),
    "1f0-parent",
    {"messages": "00000000000000000000000000000002.0.5", "count": 3},
    {
        "messages": PackedValue("msgpack", b"d" * 16, b"b" * 16, [b"\x92", (1, 700), b"new"]),
        "count": PackedValue("msgpack", b"e" * 16, b"", [b"\x07"]),
    },
)
WRITES = PackedWrites(
    VERSION, "task-1", "~__pregel_pull, node", [(0, "messages", "msgpack", b"\x91"), (-3, "i", "null", b"")]
)


def test_what_was_written_is_read() -> None:
    assert read_checkpoint((GOLDEN / "checkpoint").read_bytes()) == CHECKPOINT
    assert read_writes((GOLDEN / "writes").read_bytes()) == WRITES


def test_what_is_written_is_as_it_was() -> None:
    assert pack(CHECKPOINT) == (GOLDEN / "checkpoint").read_bytes()
    assert pack(WRITES) == (GOLDEN / "writes").read_bytes()


def test_what_is_no_record_of_a_thread_is_refused() -> None:
    with pytest.raises(Damaged, match="cannot be read"):
        read_checkpoint(pack(WRITES))
    with pytest.raises(InvalidInput, match="has format 2"):
        read_writes(pack(PackedWrites(2, "", "", [])))
