"""Spool format 1, held by a dead writer's folder that is never edited: it is read, and the same appends still make the
same bytes.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from livespan.instrumentation.outbound import EntryKind, decode_head, to_wire
from livespan.instrumentation.spool import START, Entry, Position, WriterFolder, list_writers
from livespan.instrumentation.spool.layout import HEADER_BYTES
from livespan.proto.otlp import Request
from livespan.proto.span import export_request

GOLDEN = Path(__file__).parent.parent / "golden" / "spool-v1"
PROGRAM = Path(__file__).with_name("golden_spool.py")
EXPECTED: Any = json.loads((GOLDEN / "expected.json").read_text())


@pytest.fixture
def golden(tmp_path: Path) -> WriterFolder:
    """The golden writer's folder, unpacked and ours alone."""
    with tarfile.open(GOLDEN / "spool.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    spool = tmp_path / "spool"
    for folder in (spool, *spool.iterdir()):
        folder.chmod(0o700)
    [found] = list_writers(spool)
    return found


def told(entry: Entry) -> dict[str, object]:
    """Return an entry as expected.json has it."""
    said: dict[str, object] = {
        "segment": entry.segment,
        "offset": entry.offset,
        "next_offset": entry.next_offset,
        "kind": entry.kind,
        "seq": entry.seq,
        "head_sha256": sha256(entry.head).hexdigest(),
        "body_bytes": len(entry.body),
        "body_sha256": sha256(entry.body).hexdigest(),
    }
    if entry.kind == EntryKind.FOREIGN:
        span, resource = Span.FromString(entry.head), Resource.FromString(entry.body)
        return said | {
            "name": span.name,
            "trace_id": span.trace_id.hex(),
            "node_id": span.span_id.hex(),
            "resource": {pair.key: pair.value.string_value for pair in resource.attributes},
        }
    head = decode_head(entry.head)
    return said | {
        "name": head.name,
        "trace_id": head.trace_id.hex(),
        "node_id": head.node_id.hex(),
        "parent_id": head.parent_id.hex(),
        "started_ns": head.started_ns,
        "ended_ns": head.ended_ns,
        "failed": head.failed,
        "fixed": head.fixed.hex(),
        "resource": head.resource.hex(),
        "attributes": head.attributes,
        "texts": {name: text.decode() for name, text in head.texts},
    }


def test_the_golden_spool_is_read(golden: WriterFolder) -> None:
    assert (golden.family, golden.writer, golden.alive()) == ("golden", EXPECTED["writer"], False)
    assert {
        "endpoint": golden.meta.endpoint,
        "pid": golden.meta.pid,
        "created_ns": golden.meta.created_ns,
    } == EXPECTED["meta"]
    assert golden.segments() == [1, 2]
    assert golden.watermark() == START
    assert [told(entry) for entry in golden.entries()] == EXPECTED["entries"]


def test_the_golden_spools_torn_tail_is_there_and_is_not_read(golden: WriterFolder) -> None:
    end = EXPECTED["entries"][-1]["next_offset"]
    tail = (golden.path / "00000002.seg").read_bytes()[end:]
    assert tail[:8] == bytes(8), "no commit word"
    assert b'"torn"' in tail, "but what it would have committed"
    assert list(golden.entries(Position(2, end))) == []


def test_the_golden_spool_can_be_sent_and_removed(golden: WriterFolder) -> None:
    entries = list(golden.entries())
    wires = [wire for entry in entries if (wire := to_wire(entry, golden.writer)) is not None]
    records = Request(export_request(wires)).records(1)
    assert len(records) == len(EXPECTED["entries"])
    assert sorted(record.name for record in records) == sorted(entry["name"] for entry in EXPECTED["entries"])
    assert not golden.remove_finished()
    golden.advance(entries[-1].end)
    assert golden.remove_finished()
    assert not golden.path.exists()


def test_the_same_appends_still_make_the_golden_bytes(golden: WriterFolder, tmp_path: Path) -> None:
    spool = tmp_path / "again"
    spool.mkdir(mode=0o700)
    assert subprocess.run([sys.executable, PROGRAM, spool], check=False).returncode == -signal.SIGKILL
    [made] = list_writers(spool)
    assert not made.alive()
    assert sorted(path.name for path in made.path.iterdir()) == sorted(path.name for path in golden.path.iterdir())
    for path in golden.path.iterdir():
        written = bytearray((made.path / path.name).read_bytes())
        if path.name == "ack":
            written[8:16] = bytes(8)  # the golden ones are from before the watermark had a check
        assert written == path.read_bytes(), path.name
    assert (golden.path / "00000001.seg").stat().st_size > HEADER_BYTES
