"""How the agent's side and commands find the collector of a home, or start one. What the collector does is not known
here.

    collector.addr   JSON: whose it is (process.py), version, target, grpc; written when the collector is ready
    collector.lock   an exclusive flock, held for life: who holds it serves the home

A found address is believed only if its process lives (where that can be told) and speaks our version; a stale one is
passed over. Of several processes that start a collector at once, one gets the lock and the others leave again; all of
them find the winner.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

import msgspec

from livespan.proto.errors import EXIT_CODES, CollectorMissing, ErrorKind, Unavailable
from livespan.proto.home import Home
from livespan.proto.lock_file import is_locked
from livespan.proto.process import ProcessId, start_detached

__all__ = ["PROTOCOL_VERSION", "Address", "ensure", "is_served", "locate", "read_address"]

PROTOCOL_VERSION: Final = 1
START_TIMEOUT_S: Final = 30.0
_HELD: Final = EXIT_CODES[ErrorKind.CONFLICT]
"""With this code a collector ends that found the home served by another."""
_NEEDED: Final = ("duckdb", "pyarrow", "deltalake")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a home's collector listens.

    Attributes:
        target: gRPC target, `unix:/path`.
        grpc: host:port where it also listens, "" if nowhere.
        version: protocol version that it speaks.
        embedded: an agent has started it, for want of another; it makes way for one that somebody starts.
    """

    pid: int
    start_time_ticks: int
    boot_id: str
    pid_namespace: int
    host: str
    version: int
    target: str
    grpc: str = ""
    http: str = ""
    embedded: bool = False

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.start_time_ticks, self.boot_id, self.pid_namespace, self.host)


def read_address(home: Home) -> Address | None:
    """Return what `collector.addr` says, true or stale; None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode(home.address.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_served(home: Home) -> bool:
    """Return whether some process holds the home's collector lock."""
    return is_locked(home.lock)


def locate(home: Home) -> Address | None:
    """Return the address of the home's living collector, None where it has none.

    Raises:
        Unavailable: it speaks another version than we do.
    """
    address = read_address(home)
    if address is None:
        return None
    if address.process.is_local() and not address.process.is_alive():
        return None
    if not is_served(home):
        return None
    if address.version != PROTOCOL_VERSION:
        raise Unavailable(
            f"the collector of this home speaks version {address.version}, this program speaks {PROTOCOL_VERSION}",
            subject=str(home.root),
            hint="Run `livespan stop` with the newer installation, then start again.",
        )
    return address


def ensure(home: Home, *, timeout_s: float = START_TIMEOUT_S) -> str:
    """Return the gRPC target of the home's collector, starting a detached one if none runs.

    Raises:
        CollectorMissing: none runs and the packages of the collector are not installed here.
        Unavailable: it did not come up; the message ends with what it printed last.
    """
    address = locate(home)
    if address is not None:
        return address.target
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CollectorMissing(
            f"no collector runs for this home and one cannot be started: {', '.join(missing)} not installed",
            subject=str(home.root),
            hint="pip install 'livespan[collector]', or set LIVESPAN_ENDPOINT to a collector that runs elsewhere.",
        )
    home.create()
    started = _start(home)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        address = locate(home)
        if address is not None:
            # It outlives us, and nobody waits for it: that it still runs when this object goes is no warning.
            started.returncode = 0 if started.poll() is None else started.returncode
            return address.target
        if started.poll() is not None and not is_served(home):
            if started.returncode != _HELD:
                break
            started = _start(home)  # the collector that had the lock was on its way out, and is gone now
        time.sleep(0.01)
    if started.poll() is None:
        started.returncode = 0  # as above
    raise Unavailable(
        f"the collector did not come up ({_last_words(home)})",
        subject=str(home.root),
        hint=f"Run `livespan serve --home {home.root}` to see why; its output is in {home.collector_output}.",
    )


def _start(home: Home) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "livespan.collector", "serve", "--home", str(home.root), "--embedded"]
    return start_detached(command, home.collector_output)


def _last_words(home: Home) -> str:
    try:
        lines = home.collector_output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it printed nothing"
    return lines[-1] if lines else "it printed nothing"
