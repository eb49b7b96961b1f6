"""Publishing and crashes: at each named step, with the power cut, with real processes killed. Each record is published
once.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from tests.collector.stand import STATE, Stand, Writer, node
from tests.power_cut import ForgetfulDisk

from livespan.proto.ids import content_digest
from livespan.proto.record import RecordKind

pytestmark = pytest.mark.crash

STEPS = [
    "publish.before_content",
    "publish.content_written",
    "publish.content_committed",
    "publish.nodes_written",
    "publish.nodes_committed",
    "publish.views_written",
]
BIG = b'"' + b"y" * 20_000 + b'"'
CHILD = Path(__file__).with_name("publishing_child.py")


class CrashError(Exception):
    """Ends a life in a test."""


class CrashAt:
    """Raises at the nth time that a step is passed."""

    def __init__(self, step: str, nth: int = 1) -> None:
        self.step = step
        self.left = nth

    def __call__(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                raise CrashError(step)


def feed(stand: Stand, writer: Writer) -> None:
    """Send whole nodes, an open one with a large input, checkpoints, and the end of what was open before."""
    first = writer.seq
    stand.send(writer.started(node(first + 1)), writer.ended(node(first + 1), BIG), writer.checkpoint(first + 1))
    stand.send(writer.started(node(first + 2), given=BIG))
    stand.send(writer.checkpoint(first + 2, STATE + b"more"))


def live(stand: Stand, writer: Writer) -> None:
    """Two rounds, each published."""
    for _ in range(2):
        feed(stand, writer)
        stand.publish()


def check(stand: Stand, writer: Writer, rounds: int) -> None:
    """Each record once, each content once, and all content is what was sent."""
    raw = stand.rows("SELECT log_id, log_seq FROM records")
    files = [str(path) for path in stand.hot.snapshot().nodes]
    stored = stand.rows(f"SELECT kind, writer_seq, log_seq FROM read_parquet({files!r}) ORDER BY log_seq")
    assert len(raw) == len(stored), "a record is in the table twice"
    kinds = Counter(str(kind) for kind, _, _ in stored)
    assert kinds == {"ended": rounds, "checkpoint": 2 * rounds, "started": rounds}
    digests = stand.rows("SELECT digest, digest = sha256(bytes), count(*) FROM content GROUP BY ALL")
    assert {str(digest): (same, count) for digest, same, count in digests} == {
        content_digest(BIG): (True, 2 * rounds),
        content_digest(STATE): (True, rounds),
        content_digest(STATE + b"more"): (True, rounds),
    }
    assert stand.rows("SELECT count(*) FROM records WHERE kind = 'ended' AND output_digest IS NULL") == [(0,)]
    assert stand.rows("SELECT count(*) FROM records WHERE kind = 'started' AND input_digest IS NULL") == [(0,)]
    assert stand.rows("SELECT count(*) FROM checkpoints WHERE state IS NULL") == [(0,)]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_publishes_each_record_once(tmp_path: Path, step: str, nth: int, held: bool) -> None:
    writer = Writer()
    stand = Stand(tmp_path, faults=CrashAt(step, nth), held=held)
    with pytest.raises(CrashError):
        live(stand, writer)
    stand.crash()
    stand = Stand(tmp_path, held=held)
    while writer.seq < 12:
        feed(stand, writer)
    stand.publish()
    stand.publish(last=True)
    check(stand, writer, writer.seq // 5)
    stand.crash()


@pytest.mark.parametrize("step", STEPS)
def test_a_publication_that_failed_is_gone_on_with_in_the_same_life(tmp_path: Path, step: str) -> None:
    writer = Writer()
    stand = Stand(tmp_path, faults=CrashAt(step), held=True)
    feed(stand, writer)
    with pytest.raises(CrashError):
        stand.publish()
    feed(stand, writer)
    stand.publish()
    stand.publish(last=True)
    check(stand, writer, 2)
    assert len(stand.hot) == 0
    stand.crash()


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_step_publishes_each_record_once(tmp_path: Path, step: str, torn: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    writer = Writer()
    recycled = 0
    for life, nth in enumerate((1, 2)):
        disk = ForgetfulDisk(home)
        stand = Stand(home, disk=disk, faults=CrashAt(step, nth))
        with pytest.raises(CrashError):
            live(stand, writer)
        recycled = max([recycled, *stand.recycled])
        disk.cut(random.Random(life) if torn else None)
        stand.crash()
    stand = Stand(home, disk=ForgetfulDisk(home))
    assert stand.publisher.watermark + 1 >= recycled, "what the log was told to forget is not in the lake"
    stand.publish(last=True)
    check(stand, writer, writer.seq // 5)
    stand.crash()


def test_a_process_killed_while_publishing_leaves_each_record_once(tmp_path: Path) -> None:
    coin = random.Random(4)
    wait = threading.Event().wait
    for life in range(4):
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(life)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n", child.communicate()
        for _ in range(coin.randrange(3, 30)):
            assert child.stdout.readline(), child.communicate()
        wait(coin.random() * 0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    stand = Stand(tmp_path)
    appended = stand.log.next_seq - 1
    assert stand.publisher.watermark > 0
    stand.publish(last=True)
    files = [str(path) for path in stand.hot.snapshot().nodes]
    stored = stand.rows(f"SELECT log_seq, started_seq, kind FROM read_parquet({files!r})")
    seqs = [seq for seq, _, _ in stored]
    assert len(seqs) == len(set(seqs))
    told = set(seqs) | {started for _, started, _ in stored if started is not None}
    assert told == set(range(1, appended + 1))
    content = stand.rows("SELECT log_seq FROM content")
    assert len(content) == len(set(content)) == sum(kind == "checkpoint" for _, _, kind in stored)
    stand.crash()


def test_after_a_restart_what_comes_again_is_known(tmp_path: Path) -> None:
    writer = Writer()
    spans = (writer.started(node(1)), writer.ended(node(1)), writer.checkpoint(1))
    stand = Stand(tmp_path)
    stand.send(*spans)
    stand.publish()
    stand.crash()
    stand = Stand(tmp_path)
    stand.send(*spans)
    assert len(stand.hot) == 0
    stand.crash()


def test_an_open_node_survives_a_restart_hot_and_ends_whole(tmp_path: Path) -> None:
    writer = Writer()
    stand = Stand(tmp_path, held=True)
    stand.send(writer.started(node(1), given=BIG), writer.checkpoint(1))
    stand.publish()
    stand.crash()
    stand = Stand(tmp_path, held=True)
    assert [record.kind for record in stand.hot.snapshot().hot] == [RecordKind.STARTED]
    stand.send(writer.ended(node(1)))
    stand.publish()
    rows = stand.rows("SELECT kind, input_digest, started_seq FROM nodes")
    assert rows == [("ended", content_digest(BIG), 1)]
    stand.crash()
