"""This process's ties to one home: its spool, its collector, its drain.

Shared by all runs that the process opens there.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.drain_process import ensure_drain
from livespan.instrumentation.settings import AgentSettings
from livespan.instrumentation.spool import Spool
from livespan.proto.clock import random_hex
from livespan.proto.errors import Damaged, Unavailable
from livespan.proto.rendezvous import ensure

__all__ = ["Connection", "connection"]

_HOME_FACTOR: Final = 4
"""The cap of all processes of a home, as a multiple of one process's."""

_connections: dict[tuple[Path, str], Connection] = {}
_lock = threading.Lock()
_SPOOL_ID: Final = re.compile(rb"[0-9a-f]{16}")


class Connection:
    """Made once per home and endpoint; lives as long as the process. Thread-safe.

    Attributes:
        unfinished: by project and run id, what ends a life that ended here while the collector was away: it sends the
            life's last records and gives its lease back.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self.home = settings.home
        self.endpoint = settings.endpoint
        self._access = settings.access
        self._lock = threading.Lock()
        if self.home.create():
            print(f"livespan: made the home {self.home.root}", file=sys.stderr)
        warning = self.home.warning()
        if warning:
            print(f"livespan: {warning}", file=sys.stderr)
        self._client: CollectorClient | None = None
        self.family = random_hex(6)
        self.spool = Spool(
            self.home.spool,
            self.family,
            endpoint=self.endpoint,
            max_bytes_process=settings.spool_max_bytes,
            max_bytes_home=settings.spool_max_bytes * _HOME_FACTOR,
            budget_s=settings.budget_ms / 1000,
        )
        self.spool_id = _spool_id(self.home.spool)
        self.unfinished: dict[tuple[str, str], Callable[[CollectorClient], None]] = {}

    def client(self, fresh: bool = False) -> CollectorClient:
        """Return the collector's client.

        Args:
            fresh: a call failed, or the last one is long ago; where the home's own collector is gone, start it again.

        Raises:
            CollectorMissing, Unavailable: no collector can be had.
        """
        found = self._client
        if found is not None and (self.endpoint or not fresh):
            return found
        with self._lock:
            target = self.endpoint or ensure(self.home)
            found = self._client
            if found is None or target != found.target:
                # The old one is not closed: another thread may be in the middle of a call, which fails by itself.
                found = self._client = CollectorClient(target, self._access)
            return found

    def kick_drain(self) -> None:
        """See to it that a drain runs."""
        ensure_drain(self.home)


def connection(settings: AgentSettings) -> Connection:
    """Return the connection of this process to a home.

    Raises:
        InvalidInput, Unavailable: the home cannot be used. No collector is needed yet.
    """
    key = (settings.home.root, settings.endpoint)
    with _lock:
        found = _connections.get(key)
        if found is None:
            found = _connections[key] = Connection(settings)
        return found


def _spool_id(spool: Path) -> str:
    """Return the id that tells this spool from another one at the same place, as a new pod would have."""
    path = spool / "id"
    fresh = random_hex(8)
    draft = spool / f".id.{fresh}.tmp"
    try:
        if not path.exists():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, fresh.encode())
            finally:
                os.close(descriptor)
            try:
                os.link(draft, path)  # whole or not at all, and never over another's
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
        found = path.read_bytes().strip()
    except OSError as error:
        raise Unavailable(f"the spool cannot be written to ({error.strerror})", subject=str(path)) from error
    if found and not _SPOOL_ID.fullmatch(found):
        raise Damaged(
            "the spool's id is not as it was written",
            subject=f"{path}@0",
            hint="Remove the file: the next run makes another, and the spool is taken for a new one.",
        )
    return found.decode()
