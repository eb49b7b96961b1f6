from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest

from livespan.proto import rendezvous
from livespan.proto.errors import CollectorMissing, Unavailable
from livespan.proto.home import Home
from livespan.proto.process import this_process
from livespan.proto.rendezvous import PROTOCOL_VERSION, Address, ensure, is_served, locate, read_address

ME = this_process()
HERE = Address(ME.pid, ME.start_time_ticks, ME.boot_id, ME.pid_namespace, ME.host, PROTOCOL_VERSION, "unix:/x")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "h")
    home.create()
    return home


@pytest.fixture
def served(home: Home) -> Iterator[Home]:
    """A home whose lock somebody holds."""
    with home.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home.address.write_bytes(msgspec.json.encode(asdict(HERE)))
        yield home


def test_nobody_is_found_where_nobody_serves(home: Home) -> None:
    assert (read_address(home), locate(home), is_served(home)) == (None, None, False)


def test_a_living_collector_is_found(served: Home) -> None:
    assert locate(served) == HERE
    assert ensure(served) == "unix:/x"


@pytest.mark.parametrize("stale", [b"", b"{", b"[]", msgspec.json.encode(asdict(replace(HERE, start_time_ticks=1)))])
def test_a_stale_or_torn_address_is_passed_over(served: Home, stale: bytes) -> None:
    served.address.write_bytes(stale)
    assert locate(served) is None


def test_a_collector_of_another_version_is_not_spoken_to(served: Home) -> None:
    served.address.write_bytes(msgspec.json.encode(asdict(replace(HERE, version=99))))
    with pytest.raises(Unavailable, match="version 99") as refused:
        locate(served)
    assert "livespan stop" in refused.value.hint


def test_without_the_collectors_packages_it_says_what_to_install(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_NEEDED", ("no_such_package",))
    with pytest.raises(CollectorMissing, match="no_such_package") as missing:
        ensure(home)
    assert "livespan[collector]" in missing.value.hint


def test_a_collector_that_cannot_start_is_told_with_its_last_words(home: Home) -> None:
    home.log.touch()  # where its folder should be
    with pytest.raises(Unavailable, match="did not come up") as refused:
        ensure(home)
    assert "livespan serve" in refused.value.hint
    assert "printed nothing" not in refused.value.message
