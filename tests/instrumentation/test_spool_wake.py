from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from livespan.instrumentation.spool import Spool, WakeSource, libc, list_writers
from livespan.proto.errors import InvalidInput

MIB = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool", "fam", endpoint="unix:/x", max_bytes_process=64 * MIB, max_bytes_home=99 * MIB)
    yield opened
    opened.close()


@pytest.fixture
def source(spool: Spool, tmp_path: Path) -> Iterator[WakeSource]:
    opened = WakeSource(tmp_path / "spool")
    # The new writer rang: that is one wake, taken here.
    assert opened.sleep(1.0, lambda: False)
    yield opened
    opened.close()


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    write = libc.write_byte

    def count(fd: int) -> bool:
        made.append(fd)
        return write(fd)

    monkeypatch.setattr(libc, "write_byte", count)
    return made


def test_an_awake_drain_costs_no_write(spool: Spool, source: WakeSource, rings: list[int]) -> None:
    for _ in range(1000):
        spool.append(b"x", kind=1)
    assert rings == []


def test_a_sleeping_drain_is_woken_by_one_byte(spool: Spool, source: WakeSource, rings: list[int]) -> None:
    asleep = threading.Event()

    def appender() -> None:
        asleep.wait()
        for _ in range(100):
            spool.append(b"x", kind=1)

    thread = threading.Thread(target=appender)
    thread.start()

    def pending() -> bool:
        asleep.set()
        return False

    began_s = time.monotonic()
    assert source.sleep(1.0, pending)
    assert time.monotonic() - began_s < 0.9
    thread.join()
    assert len(rings) == 1


def test_what_was_appended_before_the_word_was_set_is_seen_by_the_callback(
    spool: Spool, source: WakeSource, tmp_path: Path
) -> None:
    spool.append(b"x", kind=1)
    [folder] = list_writers(tmp_path / "spool")
    assert source.sleep(1.0, lambda: any(True for _ in folder.entries()))


def test_a_drain_that_died_asleep_costs_one_byte_in_all(spool: Spool, source: WakeSource, rings: list[int]) -> None:
    source._asleep[0] = 1  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    for _ in range(100):
        spool.append(b"x", kind=1)
    assert len(rings) == 1


def test_sleep_ends_with_its_timeout(source: WakeSource) -> None:
    began_s = time.monotonic()
    assert not source.sleep(0.05, lambda: False)
    assert 0.04 < time.monotonic() - began_s < 0.9
    began_s = time.monotonic()
    assert not source.sleep(60.0, lambda: False)
    assert time.monotonic() - began_s < 3


def test_a_full_fifo_blocks_nobody(spool: Spool, source: WakeSource) -> None:
    for _ in range(70_000):
        if not libc.write_byte(source.fileno()):
            break
    else:
        pytest.fail("the FIFO never filled up")
    source._asleep[0] = 1  # pyright: ignore[reportPrivateUsage]  # as above
    spool.append(b"x", kind=1)
    assert source.sleep(1.0, lambda: False)
    assert not source.sleep(0.01, lambda: False)


def test_a_new_writer_always_wakes(source: WakeSource, tmp_path: Path) -> None:
    other = Spool(tmp_path / "spool", "fam", endpoint="", max_bytes_process=9 * MIB, max_bytes_home=99 * MIB)
    assert source.sleep(1.0, lambda: False)
    other.close()


def test_something_else_in_the_fifos_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wake").write_bytes(b"")
    with pytest.raises(InvalidInput):
        WakeSource(tmp_path)
    os.unlink(tmp_path / "wake")
    (tmp_path / "wake").symlink_to(tmp_path / "control")
    with pytest.raises(InvalidInput):
        WakeSource(tmp_path)
