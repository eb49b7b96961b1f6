"""What systemd is told of this process (sd_notify(3)): that it serves, that it leaves, that its loop still turns.

    READY=1 ─▶ WATCHDOG=1, twice in each WatchdogSec ─▶ STOPPING=1

A datagram to `$NOTIFY_SOCKET`; where there is none, nothing is sent. The watchdog is fed by the loop that serves: a
loop that hangs is ended by systemd and started anew, and nothing acknowledged is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

__all__ = ["ServiceManager"]


class ServiceManager:
    """Tells one service manager.

    Args:
        address: path of its socket, `@name` for an abstract one, "" where there is none.
        watchdog_s: it ends us when it has not heard for so long; 0: it does not wait to hear.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._feeding: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> ServiceManager:
        """Return what the environment of the process `pid` says; the watchdog's part may be meant for another."""
        for_us = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        usec = environment.get("WATCHDOG_USEC", "") if for_us else ""
        return cls(environment.get("NOTIFY_SOCKET", ""), int(usec) / 1e6 if usec.isdigit() else 0.0)

    def ready(self, status: str) -> None:
        """Say that we serve, and from now on that the running loop turns."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")
        if self._watchdog_s:
            self._feeding = asyncio.get_running_loop().create_task(self._feed(), name="livespan-watchdog")

    def stopping(self) -> None:
        """Say that we publish what is left and leave; TimeoutStopSec runs from here."""
        self._send("STOPPING=1\nSTATUS=publishing what is left")

    async def close(self) -> None:
        """Stop feeding the watchdog."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)

    async def _feed(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(text.encode(), self._address)
            except OSError:
                return  # it is gone or does not listen: it judges by what it heard, we go on
