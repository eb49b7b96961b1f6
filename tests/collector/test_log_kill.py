"""The log and SIGKILL: real processes, killed while they append, recycle and make segments."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from livespan.collector.log import open_log

WRITER = Path(__file__).with_name("log_writer.py")
SIZE = 64 << 10


def acknowledged(acks: Path) -> tuple[dict[int, int], int]:
    """Return lengths by sequence, and the lowest sequence that the log must still hold."""
    lengths: dict[int, int] = {}
    watermark = 1
    for line in acks.read_text().splitlines():
        left, right = line.split()
        if left == "recycle":
            watermark = max(watermark, int(right))
        else:
            lengths[int(left)] = int(right)
    return lengths, watermark


def kill_after(folder: Path, acks: Path, seed: int, lines: int) -> None:
    process = subprocess.Popen([sys.executable, str(WRITER), str(folder), str(acks), str(seed)], stderr=subprocess.PIPE)
    wait = threading.Event().wait
    before = acks.stat().st_size if acks.exists() else 0
    while not acks.exists() or acks.stat().st_size < before + 8 * lines:
        assert process.poll() is None, process.communicate()
        wait(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_sigkill_loses_nothing_acknowledged_over_several_lives(tmp_path: Path) -> None:
    folder, acks = tmp_path / "log", tmp_path / "acks"
    coin = random.Random(9)
    for life in range(6):
        kill_after(folder, acks, life, coin.randrange(1, 1500))
        lengths, watermark = acknowledged(acks)
        assert len(lengths) > life

        log = open_log(folder, segment_bytes=SIZE)

        found = {frame.first_seq: len(frame.payload) for frame in log.frames(watermark)}
        missing = {
            sequence for sequence, length in lengths.items() if sequence >= watermark and found.get(sequence) != length
        }
        assert missing == set()
        assert log.next_seq > max(lengths)
        assert log.report.damages == ()
        log.close()
