"""What the collector's operator hears of leases: numbers for /metrics, and a notice for each lease taken or lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

from livespan.collector.notices import Notices
from livespan.proto.measured import Family, counter, gauge
from livespan.recovery.leases import Lease, LeaseEvent

__all__ = ["LeaseCounts"]


class LeaseCounts:
    """Counts leases and intends. Thread-safe.

    Args:
        live: returns how many leases are held now.
    """

    def __init__(self, live: Callable[[], int]) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._events: Counter[LeaseEvent] = Counter()
        self._intends = 0
        self._notices = Notices("leases")

    def intended(self) -> None:
        """Count an effect that asked whether it may start."""
        with self._lock:
            self._intends += 1

    def happened(self, lease: Lease, event: LeaseEvent) -> None:
        """Count what happened to a lease, and tell it."""
        with self._lock:
            self._events[event] += 1
        tell = self._notices.info if event in (LeaseEvent.GRANTED, LeaseEvent.RELEASED) else self._notices.warning
        tell(
            f"lease {event.value}",
            run=lease.run_id,
            project=lease.project,
            epoch=lease.epoch,
            holder=str(lease.holder),
        )

    def families(self) -> Iterator[Family]:
        """Yield the numbers."""
        with self._lock:
            events = {event.value: float(self._events[event]) for event in LeaseEvent}
            intends = self._intends
        yield gauge("livespan_leases_held", "Runs that some process may start things in.", self._live())
        yield counter("livespan_lease_events", "What happened to leases.", events, "event")
        yield counter("livespan_intends", "Effects that asked whether they may start.", intends)
