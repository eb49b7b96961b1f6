"""What is published, when, and what a row says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.stand import START_NS, STATE, Stand, Writer, node
from tests.power_cut import FailingDisk

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.schema import NODES
from livespan.collector.lake.table import open_table
from livespan.proto import attributes as names
from livespan.proto.errors import Conflict, Unavailable
from livespan.proto.ids import content_digest
from livespan.proto.record import RecordKind

BIG = b'"' + b"x" * 20_000 + b'"'


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.crash()


def test_an_end_and_its_start_in_one_batch_are_one_whole_row(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1)))
    stand.publish()
    rows = stand.rows("SELECT kind, status, input, output, started_seq, log_seq, latency_ms, scope, tags FROM records")
    assert rows == [("ended", "SUCCESS", '{"cents": 4200}', '"ok"', 1, 2, 6.0, "/", '{"tier":"gold"}')]
    assert len(stand.hot) == 0


def test_an_open_node_of_a_held_run_stays_hot_until_it_ends(stand: Stand) -> None:
    stand.held = True
    writer = Writer()
    stand.send(writer.started(node(1)), writer.checkpoint(1))
    assert stand.publish() == 1  # the log is needed from the open node on
    assert stand.rows("SELECT kind FROM records") == [("checkpoint",)]
    stand.send(writer.ended(node(1)))
    assert stand.publish() == 4
    assert stand.rows("SELECT kind, input FROM records ORDER BY log_seq") == [
        ("checkpoint", None),
        ("ended", '{"cents": 4200}'),
    ]


def test_an_open_node_without_a_holder_is_published_as_it_is(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)))
    assert stand.publish() == 2
    assert stand.rows("SELECT kind, status, in_doubt FROM nodes") == [("started", "RUNNING", True)]


def test_an_open_node_is_published_when_it_is_old(stand: Stand) -> None:
    stand.held = True
    writer = Writer()
    stand.send(writer.started(node(1)), writer.checkpoint(1))
    stand.publish()
    stand.clock.now_ns = START_NS + 62 * 10**9
    assert stand.publish() == 3  # nothing new came, so the watermark stays where it is
    assert stand.rows("SELECT kind FROM records ORDER BY log_seq") == [("started",), ("checkpoint",)]
    assert stand.publish() == 3
    assert len(stand.rows("SELECT * FROM records")) == 2


def test_an_open_node_that_pins_a_log_which_is_too_long_is_published_as_it_is(stand: Stand) -> None:
    stand.held = True
    writer = Writer()
    first = stand.send(writer.started(node(1)))[0].log_seq
    stand.send(writer.started(node(2)), writer.ended(node(2)))
    assert stand.publish() == first, "the log is needed from the open node on"
    stand.crowded = True
    assert stand.publish() == stand.hot.indexed_seq + 1
    assert stand.rows("SELECT node_id, status FROM nodes ORDER BY ALL") == [
        (node(1).hex(), "RUNNING"),
        (node(2).hex(), "SUCCESS"),
    ]
    stand.send(writer.ended(node(1)))
    stand.publish()
    assert stand.rows("SELECT status FROM nodes") == [("SUCCESS",), ("SUCCESS",)]


def test_the_end_publishes_open_nodes(stand: Stand) -> None:
    stand.held = True
    stand.send(Writer().started(node(1)))
    stand.publisher.close()
    assert stand.rows("SELECT kind FROM records") == [("started",)]


def test_an_end_is_completed_from_the_published_start(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1), given=BIG))
    stand.publish()
    stand.send(writer.ended(node(1)))
    [row] = [row for row in stand.publisher.snapshot().hot if row.kind is RecordKind.ENDED]
    assert row.log_seq == 2
    assert [record.kind for record in stand.publisher.snapshot().hot] == [RecordKind.ENDED, RecordKind.STARTED]
    stand.publish()
    rows = stand.rows("SELECT kind, input_digest, input_size_bytes, started_seq, scope FROM records ORDER BY log_seq")
    whole = (content_digest(BIG), len(BIG), 1, "/")
    assert rows == [("started", *whole), ("ended", *whole)]
    assert stand.rows("SELECT count(*) FROM nodes") == [(1,)]


def test_large_values_are_in_content_and_not_in_nodes(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1), given=BIG), writer.ended(node(1), BIG), writer.checkpoint(1))
    stand.publish()
    [(given, output)] = stand.rows("SELECT input, output FROM nodes WHERE kind = 'ended'")
    assert (given, output) == (None, None)
    rows = stand.rows("SELECT kind, name, size_bytes, digest = sha256(bytes), log_seq FROM content ORDER BY log_seq")
    assert rows == [
        ("input", names.TOOL_ARGUMENTS, len(BIG), True, 1),
        ("output", names.TOOL_RESULT, len(BIG), True, 2),
        ("state", names.STATE, len(STATE), True, 3),
    ]
    assert stand.rows("SELECT checkpoint_id, state, digest FROM checkpoints") == [("c1", STATE, content_digest(STATE))]


def test_the_input_of_an_open_node_is_published_once(stand: Stand) -> None:
    stand.held = True
    writer = Writer()
    stand.send(writer.started(node(1), given=BIG))
    stand.publish()
    stand.send(writer.ended(node(1)))
    stand.publish()
    assert stand.rows("SELECT log_seq, kind FROM content") == [(1, "input")]
    assert stand.rows("SELECT input_digest FROM nodes") == [(content_digest(BIG),)]


def test_a_record_that_comes_twice_is_published_once(stand: Stand) -> None:
    writer = Writer()
    spans = (writer.started(node(1)), writer.ended(node(1)), writer.checkpoint(1))
    stand.send(*spans)
    stand.send(*spans)
    stand.publish()
    stand.send(*spans)
    stand.publish()
    assert stand.hot.duplicates == 6
    assert stand.rows("SELECT log_seq FROM records ORDER BY log_seq") == [(2,), (3,)]
    assert stand.rows("SELECT count(*) FROM content") == [(1,)]


def test_a_watermark_that_goes_back_is_refused(stand: Stand, tmp_path: Path) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1)))
    stand.publish()
    table = open_table(tmp_path / "lake" / "nodes", NODES, str(stand.log.uuid), SystemDisk())
    [file] = table.files
    for watermark in (1, 2):
        with pytest.raises(Conflict, match="published up to record 2"):
            table.commit(file, 1, watermark, START_NS)
    assert len(stand.rows("SELECT * FROM records")) == 1


def test_files_that_no_commit_names_are_removed_at_start(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1)), writer.checkpoint(1))
    stand.publish()
    stand.crash()
    lake = tmp_path / "lake"
    kept = sorted(lake.glob("*/*.parquet"))
    for table in ("nodes", "content"):
        (lake / table / "part-orphan.parquet").write_bytes(b"torn")
    (lake / "nodes" / "notes.txt").write_text("mine")
    (lake / "mine.parquet").write_bytes(b"mine")
    stand = Stand(tmp_path)
    assert sorted(lake.glob("*/*.parquet")) == kept
    assert (lake / "nodes" / "notes.txt").exists()
    assert (lake / "mine.parquet").exists()
    stand.crash()


def test_plain_duckdb_reads_the_views_of_a_full_and_of_an_empty_lake(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] home*"
    folder.mkdir()
    stand = Stand(folder)
    stand.publish()
    views = ["records", "nodes", "runs", "effects", "llm_calls", "checkpoints", "content"]
    program = (
        "import duckdb, sys, json\n"
        "c = duckdb.connect()\n"
        "c.execute(open(sys.argv[1]).read())\n"
        f"print(json.dumps([c.execute('SELECT count(*) FROM ' + v).fetchone()[0] for v in {views!r}]))\n"
        "assert 'livespan' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )

    def counts() -> object:
        command = [sys.executable, "-c", program, str(folder / "lake" / "views.sql")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert counts() == [0] * 7
    writer = Writer()
    stand.send(writer.root_record(RecordKind.STARTED), writer.started(node(1)), writer.ended(node(1)))
    stand.send(writer.checkpoint(1), writer.started(node(2), kind="PROMPT", effect=False))
    stand.publish()
    assert counts() == [4, 3, 1, 1, 1, 1, 1]
    stand.crash()


def test_a_full_disk_fails_the_publication_and_the_next_one_goes_on(tmp_path: Path) -> None:
    disk = FailingDisk()
    stand = Stand(tmp_path, disk=disk)
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1)), writer.checkpoint(1))
    for operation in ("sync_file", "sync_folder", "replace"):
        disk.failing = {operation}
        with pytest.raises(Unavailable):
            stand.publish()
        disk.failing = set()
        if operation == "sync_file":
            assert list(stand.publisher.folders[1].glob("*.parquet")) == [], "a failed try leaves its file on the disk"
    stand.publish()
    assert stand.rows("SELECT log_seq FROM records ORDER BY log_seq") == [(2,), (3,)]
    assert stand.rows("SELECT count(*) FROM content") == [(1,)]
    assert stand.recycled == [4]
    stand.crash()


def test_the_table_is_checkpointed_and_goes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    writer = Writer()
    for number in range(1, 23):
        stand.send(writer.started(node(number)), writer.ended(node(number)))
        stand.publish()
    log = tmp_path / "lake" / "nodes" / "_delta_log"
    [checkpoint] = log.glob("*.checkpoint.parquet")
    stand.crash()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])  # as a power cut might leave it, were it not synced
    unseal(tmp_path / "lake" / "nodes", 20)
    stand = Stand(tmp_path)
    assert stand.rows("SELECT count(*) FROM records") == [(22,)]
    assert stand.publisher.watermark == 44
    assert not checkpoint.exists()
    stand.crash()


def unseal(table: Path, version: int) -> None:
    """Take away the seals from a version on: the power went before they were made."""
    for seal in (table / "_seals").glob("*.seal"):
        if int(seal.stem) >= version:
            seal.unlink()


def test_a_torn_newest_commit_never_was(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    writer = Writer()
    for number in range(1, 3):
        stand.send(writer.started(node(number)), writer.ended(node(number)))
        stand.publish()
    stand.crash()
    newest = max((tmp_path / "lake" / "nodes" / "_delta_log").glob("*.json"))
    os.truncate(newest, 0)
    unseal(tmp_path / "lake" / "nodes", int(newest.stem))
    stand = Stand(tmp_path)
    assert stand.publisher.watermark == 2
    stand.publish()
    assert stand.rows("SELECT log_seq FROM records ORDER BY log_seq") == [(2,), (4,)]
    stand.crash()


def test_the_thread_publishes_when_enough_is_there_and_at_the_end(tmp_path: Path) -> None:
    stand = Stand(tmp_path, publish_records=4)
    stand.publisher.start()
    writer = Writer()
    for number in range(1, 3):
        stand.send(writer.started(node(number)), writer.ended(node(number)))
    assert stand.hot.wait_for(lambda: len(stand.hot) == 0, 20)
    stand.send(writer.started(node(9)))
    stand.publisher.close()
    assert stand.rows("SELECT count(*) FROM records") == [(3,)]
    stand.crash()
