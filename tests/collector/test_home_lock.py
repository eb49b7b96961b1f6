from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.livespan_home import LiveHome

from livespan.collector.home_lock import HomeLock, socket_path
from livespan.proto.errors import EXIT_CODES, ErrorKind, HomeHeld, Unavailable
from livespan.proto.home import Home
from livespan.proto.rendezvous import is_served, locate, read_address


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "h")
    home.create()
    return home


def test_who_holds_the_lock_serves_the_home(home: Home) -> None:
    lock, other = HomeLock(home), HomeLock(home)
    assert not is_served(home)
    lock.acquire()
    assert is_served(home)
    with pytest.raises(HomeHeld):
        other.acquire()
    lock.release()
    lock.release()
    assert not is_served(home)
    other.acquire()
    other.release()


def test_somebody_who_only_looks_keeps_nobody_out(home: Home) -> None:
    home.lock.touch()
    descriptor = os.open(home.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    looking = threading.Timer(0.1, os.close, (descriptor,))
    looking.start()
    lock = HomeLock(home)
    lock.acquire()
    looking.join()
    lock.release()


def test_an_address_is_found_while_its_collector_serves(home: Home) -> None:
    lock = HomeLock(home)
    lock.acquire()
    lock.announce("unix:/x", "127.0.0.1:1")
    found = locate(home)
    assert found is not None
    assert (found.target, found.grpc, found.pid) == ("unix:/x", "127.0.0.1:1", os.getpid())
    lock.withdraw()
    assert read_address(home) is None
    lock.announce("unix:/x", "")
    lock.release()
    assert locate(home) is None, "an address whose collector is gone is passed over"


def test_a_lock_that_cannot_be_opened_says_so(home: Home, tmp_path: Path) -> None:
    home.lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="cannot be locked") as refused:
        HomeLock(home).acquire()
    assert refused.value.hint


def test_a_socket_lies_in_the_home_where_there_is_room(tmp_path: Path) -> None:
    short = Home(Path("/h"))
    assert socket_path(short, None) == Path("/h/collector.sock")
    long = Home(tmp_path / ("d" * 100))
    path = socket_path(long, tmp_path)
    assert path.parent == tmp_path / f"livespan-{os.getuid()}"
    assert path != socket_path(Home(tmp_path / ("e" * 100)), tmp_path)


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / f"livespan-{os.getuid()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="not ours alone") as refused:
        socket_path(Home(tmp_path / ("d" * 100)), tmp_path)
    assert "chmod 700" in refused.value.hint


def test_an_address_that_was_damaged_or_taken_away_is_written_again_until_it_is_withdrawn(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    lock = HomeLock(home)
    lock.acquire()
    lock.announce("unix:/somewhere", "")
    good = home.address.read_bytes()
    lock.keep_announced()
    assert caplog.records == []
    damaged = bytearray(good)
    damaged[5] ^= 0x80
    home.address.write_bytes(damaged)
    assert read_address(home) is None
    lock.keep_announced()
    assert home.address.read_bytes() == good
    assert [record.message for record in caplog.records] == ["address damaged"]
    home.address.unlink()
    lock.keep_announced()
    assert home.address.read_bytes() == good
    lock.withdraw()
    lock.keep_announced()
    assert not home.address.exists()
    lock.release()


@pytest.mark.parametrize("again", [False, True])
def test_a_collector_whose_home_was_removed_leaves_and_touches_nothing_of_the_next(live: LiveHome, again: bool) -> None:
    orphan = live.serve_process()
    shutil.rmtree(live.home.root)
    address = b""
    if again:
        live.home.create()
        live.serve_process()
        address = live.home.address.read_bytes()
    stderr = orphan.communicate(timeout=30)[1]
    assert orphan.returncode == EXIT_CODES[ErrorKind.UNAVAILABLE]
    assert "home taken away" in stderr
    assert "before its home is moved or removed" in stderr
    assert live.home.root.exists() == again
    if again:
        assert live.home.address.read_bytes() == address
        assert (live.home.root / "collector.sock").is_socket()
