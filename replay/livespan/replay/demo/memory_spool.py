"""A spool that a killed process takes with it: what an ordinary batch exporter is. For `--sabotage spool` alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing, batches
from livespan.instrumentation.spool import Backlog, Entry, Position
from livespan.proto.clock import random_hex
from livespan.proto.errors import LivespanError
from livespan.proto.home import Home
from livespan.proto.rendezvous import ensure
from livespan.proto.span import export_request

__all__ = ["MemorySpool"]

_EVERY_S: Final = 5.0
"""The BatchSpanProcessor's schedule_delay_millis where nobody said otherwise."""


class MemorySpool:
    """Takes what `Spool` takes, with a list and a thread behind it. Without caps; a fork's child must not use it."""

    def __init__(
        self,
        folder: Path,
        family: str,
        *,
        endpoint: str,
        max_bytes_process: int,
        max_bytes_home: int,
        budget_s: float = 0.05,
    ) -> None:
        del family, max_bytes_process, max_bytes_home, budget_s
        self.writer_id = random_hex(8)
        self.shared = False
        self.lock_folder = ""
        self._client = CollectorClient(endpoint or ensure(Home(folder.parent)))
        self._entries: list[Entry] = []
        self._seq = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._export_for_ever, name="demo-batch-exporter", daemon=True).start()

    def append(
        self, head: bytes, body: bytes = b"", *, kind: int, reserve: int = 0, consumes: int = 0
    ) -> tuple[str, int]:
        """Keep a record in memory; return (writer id, sequence number)."""
        del reserve, consumes
        with self._lock:
            self._seq += 1
            self._entries.append(Entry(0, 0, 0, kind, self._seq, head, body))
            return self.writer_id, self._seq

    def promise(self, reserve: int) -> tuple[str, int]:
        """There is always room; return (writer id, sequence number) for a record that goes another way."""
        del reserve
        with self._lock:
            self._seq += 1
            return self.writer_id, self._seq

    def give_back(self, reserve: int) -> None:
        """Nothing was kept."""

    def unacknowledged(self) -> list[Backlog]:
        """Return what was not exported yet."""
        with self._lock:
            entries = list(self._entries)
        return [Backlog(self.writer_id, sum(len(entry.head) + len(entry.body) for entry in entries), iter(entries))]

    def acknowledge(self, writer_id: str, position: Position) -> None:
        """Nothing to note: what was exported is not kept."""

    def close(self) -> None:
        """Export no more."""
        self._closed.set()

    def _export_for_ever(self) -> None:
        while not self._closed.wait(_EVERY_S):
            with self._lock:
                entries = list(self._entries)
            try:
                for batch in batches(self._outgoing(entries)):
                    self._client.export(export_request([span.wire for span in batch]))
            except LivespanError:
                continue  # they stay in memory and are sent the next time
            with self._lock:
                del self._entries[: len(entries)]

    def _outgoing(self, entries: list[Entry]) -> Iterator[Outgoing]:
        for entry in entries:
            outgoing = Outgoing.of(entry, self.writer_id)
            if outgoing is not None:
                yield outgoing
