from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.livespan_home import LiveHome

from livespan.collector.service_manager import ServiceManager


class Systemd:
    """What a service manager hears."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(20)

    def until(self, words: str) -> None:
        """Listen until a message begins so."""
        while not (self.heard and self.heard[-1].startswith(words)):
            self.heard.append(self._socket.recv(4096).decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify"))
    yield made
    made.close()


def test_serve_says_ready_feeds_the_watchdog_and_says_that_it_leaves(
    live: LiveHome, systemd: Systemd, tmp_path: Path
) -> None:
    process = live.start(
        "-m",
        "livespan.collector",
        "serve",
        "--home",
        str(live.home.root),
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"},
    )
    systemd.until("READY=1")
    assert systemd.heard == [f"READY=1\nMAINPID={process.pid}\nSTATUS=serving {live.home.root}"]
    assert live.home.address.exists(), "ready is said when it can be found"
    systemd.until("WATCHDOG=1")
    systemd.heard.append("")
    systemd.until("WATCHDOG=1")
    process.terminate()
    systemd.until("STOPPING=1")
    assert process.wait(20) == 0


async def test_an_abstract_address_is_spoken_to() -> None:
    name = f"livespan-test-{os.getpid()}"
    systemd = Systemd(f"\0{name}")
    ServiceManager(f"@{name}").ready("here")
    await asyncio.to_thread(systemd.until, "READY=1")
    systemd.close()


async def test_without_a_service_manager_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    for manager in (ServiceManager(), ServiceManager(str(tmp_path / "nobody"), 0.1)):
        manager.ready("here")
        manager.stopping()
        await manager.close()


def test_a_watchdog_that_is_meant_for_another_process_is_left_alone() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"}
    assert ServiceManager.of(environment, 7)._watchdog_s == 1.0  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    assert ServiceManager.of(environment, 8)._watchdog_s == 0.0  # pyright: ignore[reportPrivateUsage]  # as above
    assert ServiceManager.of({}, 8)._address == ""  # pyright: ignore[reportPrivateUsage]  # as above
