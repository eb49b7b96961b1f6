"""The barrier before an effect: nothing that this run recorded may be less durable than the effect's start.

    unacknowledged ≤ 3 MB? ── no ─▶ wait for the drain
            │ yes
            ▼
    one unary call: this run's unacknowledged records, in order, of every writer of its family; the started record last
            ▼
    the collector checks the epoch, appends, fsyncs, answers ─▶ the effect may start

So a spool that is lost later can only mean "asked again" or "in doubt", never a second charge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from livespan.instrumentation.outbound import MAX_BATCH_BYTES, run_wire
from livespan.instrumentation.spool import Entry, Position, Spool, WriterFolder, list_writers
from livespan.proto.errors import Damaged, NotFound, Unavailable
from livespan.proto.span import WireSpan

__all__ = ["Barrier", "Unacknowledged"]

_POLL_S: Final = 0.0005


class Unacknowledged(NamedTuple):
    """What of a run is not acknowledged yet.

    Attributes:
        spans: its records.
        upto: by writer, the sequence number up to which they go.
        ends: by writer of this process that holds no other run's records, where its stream then is acknowledged whole.
    """

    spans: list[WireSpan]
    upto: dict[str, int]
    ends: dict[str, Position]


class Barrier:
    """Collects what must go with an effect's start. One per run and process; thread-safe.

    Args:
        spool: this process's.
        folder: the home's `spool/`, for the writers of other processes of this run.
        family: the first part of the names of this run's writers' folders.
    """

    def __init__(self, spool: Spool, folder: Path, family: str) -> None:
        self._spool = spool
        self._folder = folder
        self._family = family
        self._acknowledged: dict[str, int] = {}
        self._shared: set[str] = set()

    def acknowledged(self, sent: Unacknowledged) -> None:
        """Note that what `collect` returned has reached the log: it need not go again, by us or by the drain."""
        for writer, seq in sent.upto.items():
            self._acknowledged[writer] = max(seq, self._acknowledged.get(writer, 0))
        for writer, position in sent.ends.items():
            self._spool.acknowledge(writer, position)

    def collect(self, trace_id: bytes, deadline_s: float, kick: Callable[[], None]) -> Unacknowledged:
        """Return the run's unacknowledged records, in each writer's order, once they are at most 3 MB.

        Args:
            trace_id: of the run; what the same writers hold of other runs stays behind.
            deadline_s: monotonic time at which waiting ends.
            kick: called while waiting, to see that a drain is there at all.

        Raises:
            Unavailable: the drain did not get that far in time.
        """
        kicked = False
        while True:
            found = self._look(trace_id)
            if found is not None:
                return found
            if not kicked:
                kick()
                kicked = True
            if time.monotonic() > deadline_s:
                raise Unavailable(
                    "the spool holds more than 3 MB that the collector has not acknowledged",
                    subject=str(self._folder),
                    hint="Is the collector reachable? `livespan doctor` tells.",
                )
            time.sleep(_POLL_S)

    def _look(self, trace_id: bytes) -> Unacknowledged | None:
        """Return what is not acknowledged now, or None where that is more than may go at once."""
        spans: list[WireSpan] = []
        upto: dict[str, int] = {}
        ends: dict[str, Position] = {}
        size = 0
        for writer, entries, own in self._backlogs():
            done = self._acknowledged.get(writer, 0)
            for entry in entries:
                ends[writer] = entry.end
                if entry.seq <= done:
                    continue
                upto[writer] = entry.seq
                wire = run_wire(entry, writer, trace_id)
                if wire is None:
                    # Another run's, or nobody's: the drain sends it, or keeps it where a person finds it.
                    self._shared.add(writer)
                    continue
                size += wire.size_bytes
                if size > MAX_BATCH_BYTES:
                    return None
                spans.append(wire)
            if not own or writer in self._shared:
                ends.pop(writer, None)
        return Unacknowledged(spans, upto, ends)

    def _backlogs(self) -> Iterator[tuple[str, Iterable[Entry], bool]]:
        """Yield each writer of the family with its entries above the watermark, and whether it is of this process."""
        own: set[str] = set()
        for backlog in self._spool.unacknowledged():
            own.add(backlog.writer)
            yield backlog.writer, backlog.entries, True
        if not self._spool.shared:
            return
        for folder in list_writers(self._folder, family=self._family):
            if folder.writer in own:
                continue
            try:
                yield folder.writer, _readable(folder), False
            finally:
                folder.close()


def _readable(folder: WriterFolder) -> list[Entry]:
    """Return a writer's entries up to the first that is damaged: the drain passes that over, and sends what follows."""
    found: list[Entry] = []
    with suppress(NotFound, Damaged):  # gone means acknowledged
        found.extend(folder.entries(folder.watermark()))
    return found
