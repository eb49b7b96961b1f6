"""Acknowledged frames and the power: cut at each named step, at random instants, and after a kill."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.power_cut import ForgetfulDisk

from livespan.collector.log import Entry, FileLog, LogProtections, open_log
from livespan.proto.errors import LivespanError

STEPS = ["before_write", "after_write", "after_sync", "segment_created", "recycle"]
SIZE = 4096


class Cut:
    """A fault hook that cuts the power the `at`-th time that a step is passed."""

    def __init__(self, disk: ForgetfulDisk, step: str, at: int, keep: random.Random | None) -> None:
        self._disk = disk
        self._step = f"log.{step}"
        self._left = at
        self._keep = keep

    def __call__(self, step: str) -> None:
        if step == self._step or self._step == "log.any":
            self._left -= 1
            if self._left == 0:
                self._disk.cut(self._keep)


def payload_of(sequence: int, coin: random.Random) -> bytes:
    return b"%08d" % sequence + coin.randbytes(coin.randrange(0, 900))


def live(log: FileLog, disk: ForgetfulDisk, coin: random.Random) -> tuple[dict[int, bytes], int]:
    """Append and recycle until the power is cut; return what was acknowledged, and the lowest
    sequence that must be there.
    """
    acknowledged: dict[int, bytes] = {}
    watermark = 1
    try:
        while not disk.is_off and len(acknowledged) < 300:
            entries = [Entry(payload_of(log.next_seq + index, coin), 1) for index in range(coin.randrange(1, 9))]
            for entry, appended in zip(entries, log.append(entries), strict=True):
                acknowledged[appended.first_seq] = entry.payload
            if coin.random() < 0.3:
                watermark = max(watermark, log.next_seq - coin.randrange(0, 10))
                log.recycle(watermark)
    except LivespanError:
        assert disk.is_off
    log.close()
    return acknowledged, watermark


def check(root: Path, acknowledged: dict[int, bytes], watermark: int) -> None:
    disk = ForgetfulDisk(root)
    log = open_log(root / "log", segment_bytes=SIZE, disk=disk)
    found = {frame.first_seq: frame.payload for frame in log.frames(1)}
    for sequence, payload in acknowledged.items():
        if sequence >= watermark:
            assert found.get(sequence) == payload, sequence
    for sequence, payload in found.items():
        assert payload.startswith(b"%08d" % sequence)
        assert acknowledged.get(sequence, payload) == payload
    assert log.next_seq > max(acknowledged, default=0)
    for damage in log.report.damages:
        missing = range(damage.first_seq, damage.first_seq + damage.missing_records)
        assert not set(missing) & set(acknowledged)
    # The log goes on, and what it acknowledges now is as safe.
    appended = log.append([Entry(b"after", 1)])[0]
    disk.cut()
    log.close()
    again = open_log(root / "log", segment_bytes=SIZE)
    assert [frame.payload for frame in again.frames(appended.first_seq)] == [b"after"]
    again.close()
    disk.close()


def one_life(root: Path, step: str, seed: int, protections: LogProtections) -> None:
    coin = random.Random(f"{step} {seed}")
    root.mkdir()
    disk = ForgetfulDisk(root)
    keep = random.Random(seed) if seed % 2 else None
    cut = Cut(disk, step, coin.randrange(1, 60 if step == "any" else 12), keep)
    log = open_log(root / "log", segment_bytes=SIZE, disk=disk, faults=cut, protections=protections)
    acknowledged, watermark = live(log, disk, coin)
    disk.cut(keep)
    check(root, acknowledged, watermark)


@pytest.mark.parametrize("step", [*STEPS, "any"])
def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path, step: str) -> None:
    for seed in range(16):
        one_life(tmp_path / f"home{seed}", step, seed, LogProtections())


def test_without_the_sync_a_power_cut_would_lose_acknowledged_frames(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        one_life(tmp_path / "home", "any", 2, LogProtections(sync_before_ack=False))


def test_a_kill_between_rename_and_sync_is_made_good_at_the_next_open(tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    disk = ForgetfulDisk(root)

    class KilledError(Exception):
        pass

    def die(step: str) -> None:
        if step == "log.recycle":
            raise KilledError

    log = open_log(root / "log", segment_bytes=SIZE, disk=disk, faults=die, spares_ahead=0)
    log.append([Entry(b"x" * 1000, 1)] * 9)
    with pytest.raises(KilledError):
        log.recycle(7)
    log.close()

    log = open_log(root / "log", segment_bytes=SIZE, disk=disk, spares_ahead=0)
    appended = log.append([Entry(b"y" * 1000, 1)] * 9)
    assert 2 in {each.ref.reuse for each in appended}, "the renamed segment is in use"
    disk.cut()
    log.close()

    log = open_log(root / "log", segment_bytes=SIZE)
    assert [frame.first_seq for frame in log.frames(7)] == list(range(7, 19))
    assert log.report.damages == ()
    log.close()
