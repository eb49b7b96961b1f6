"""The log on a disk that is full or fails."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.power_cut import FailingDisk

from livespan.collector.log import Entry, open_log
from livespan.proto.errors import Unavailable

SIZE = 64 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for about eight segments."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=544k", "tmpfs", str(mount)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_refuses_appends_and_the_log_goes_on_once_there_is_room(
    small_disk: Path,
) -> None:
    log = open_log(small_disk / "log", segment_bytes=SIZE)
    acknowledged: list[int] = []

    def fill() -> None:
        for _ in range(1000):
            acknowledged.extend(each.first_seq for each in log.append([Entry(b"x" * 5000, 1)] * 3))

    with pytest.raises(Unavailable, match="No space left") as refused:
        fill()
    assert "Free space" in refused.value.hint
    assert str(small_disk) in refused.value.subject
    with pytest.raises(Unavailable):
        log.append([Entry(b"x" * 100_000, 1)])

    assert log.recycle(log.next_seq - 20) > 0
    acknowledged += [each.first_seq for each in log.append([Entry(b"y" * 5000, 1)] * 3)]

    log.close()
    log = open_log(small_disk / "log", segment_bytes=SIZE)
    found = [frame.first_seq for frame in log.frames(1)]
    assert found == acknowledged[-len(found) :]
    assert (log.report.damages, log.report.cut) == ((), ())
    log.close()


@pytest.mark.parametrize("operation", ["write", "sync_file"])
def test_a_failed_write_or_sync_poisons_the_log_until_it_is_opened_anew(tmp_path: Path, operation: str) -> None:
    disk = FailingDisk()
    log = open_log(tmp_path / "log", segment_bytes=SIZE, disk=disk, spares_ahead=0)
    log.append([Entry(b"kept", 1)])
    disk.failing.add(operation)
    with pytest.raises(Unavailable, match="could not be written") as refused:
        log.append([Entry(b"refused", 1)])
    assert refused.value.subject.endswith(".seg")
    assert "started again" in refused.value.hint

    disk.failing.clear()
    with pytest.raises(Unavailable, match="could not be written"):
        log.append([Entry(b"a sync that succeeds now proves nothing", 1)])
    assert [frame.payload for frame in log.frames(1)] == [b"kept"], "reading goes on"
    log.close()

    log = open_log(tmp_path / "log", segment_bytes=SIZE)
    log.append([Entry(b"anew", 1)])
    found = [frame.payload for frame in log.frames(1)]
    assert (found[0], found[-1]) == (b"kept", b"anew")
    log.close()


def test_a_segment_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = FailingDisk(errno.ENOSPC)
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=SIZE, disk=disk, spares_ahead=0)
    log.append([Entry(b"x", 1)])
    before = sorted(folder.iterdir())
    disk.failing.add("sync_file")

    with pytest.raises(Unavailable, match="No space left"):
        log.append([Entry(b"x" * 40_000, 1)] * 2)

    assert sorted(folder.iterdir()) == before
    disk.failing.clear()
    assert log.append([Entry(b"x" * 40_000, 1)] * 2)[0].first_seq == 2
    log.close()


def test_a_recycle_that_is_not_durable_gives_no_segment_to_appends(tmp_path: Path) -> None:
    disk = FailingDisk()
    log = open_log(tmp_path / "log", segment_bytes=4096, disk=disk, spares_ahead=0)
    log.append([Entry(b"x" * 1000, 1)] * 10)
    disk.failing.add("sync_folder")
    with pytest.raises(Unavailable, match="recycled"):
        log.recycle(log.next_seq)
    disk.failing.clear()

    again = log.append([Entry(b"y" * 3000, 1)] * 2)

    assert {each.ref.reuse for each in again} == {1}
    log.close()


def test_a_log_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file stands here")
    with pytest.raises(Unavailable, match="cannot be opened"):
        open_log(tmp_path / "log")


def test_a_surplus_segment_that_cannot_be_removed_is_given_up_once(tmp_path: Path) -> None:
    disk = FailingDisk()
    log = open_log(tmp_path / "log", segment_bytes=4096, disk=disk, spares_ahead=0, spares_kept=0)
    log.append([Entry(b"x" * 1000, 1)] * 10)
    disk.failing.add("remove")

    with pytest.raises(Unavailable, match="recycled"):
        log.recycle(log.next_seq)

    disk.failing.clear()
    assert log.recycle(log.next_seq) > 0
    log.close()
