"""Leases: who may start things in a run. Pure state; service.py brings the messages, the clock and the log.

                     acquire                    renew (every 5 s)
    (nobody) ───────────────────▶ held(epoch) ◀──────┐
        ▲                          │   │   └─────────┘
        │   release, died, expired │   │ acquire by another, once expired or dead
        └──────────────────────────┘   └──────▶ held(epoch + 1)

    cancel: the holder keeps its lease until it ends, and nothing more is admitted under it

The epoch decides permission to *start*, and nothing else: facts of an old epoch are always kept. `admit` is asked by
the committer just before the append of an effect's started record, so between its "yes" and the log there is no room
for another holder. A lease lives by this process's monotonic clock; a collector that starts again gives the live ones
their full time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from livespan.proto.clock import Clock
from livespan.proto.errors import Cancelled, LeaseLost, RunHeld
from livespan.proto.process import ProcessId

__all__ = ["Lease", "LeaseEvent", "Leases"]


class LeaseEvent(StrEnum):
    """What happened to a lease; each is a `lease` record in the log."""

    GRANTED = "granted"
    RELEASED = "released"
    DIED = "died"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    """The run, not the lease: nothing of it is started any more, by this holder or by another."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One grant.

    `expires_s` is monotonic time of this collector's life; `spool_id` names the spool that holds its tail, `lock` the
    folder there whose lock its process keeps, `token` the question that it answers. `cancelled`: the run was cancelled
    while this lease lived.
    """

    trace_id: bytes
    project: str
    run_id: str
    generation: int
    epoch: int
    holder: ProcessId
    spool_id: str
    expires_s: float
    token: str = ""
    cancelled: bool = False
    lock: str = ""


class Leases:
    """The leases of one collector. Thread-safe: the loop changes them, the committer asks.

    Args:
        clock: its monotonic time measures the leases.
        lease_s: how long a lease lives without being renewed.
        distant_dead: whether the holder of a lease that cannot be looked up by its pid from here is dead for certain.
        fencing: False switches `admit` off; only a mutant does so.
    """

    def __init__(
        self,
        clock: Clock,
        lease_s: float,
        distant_dead: Callable[[Lease], bool] = lambda lease: False,
        *,
        fencing: bool = True,
    ) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._distant_dead = distant_dead
        self._fencing = fencing
        self._lock = threading.Lock()
        self._live: dict[bytes, Lease] = {}
        self._epochs: dict[bytes, int] = {}

    def acquire(self, wanted: Lease, last_epoch: int) -> Lease:
        """Return the lease granted for the run of `wanted` (its epoch and time are set here).

        A question that was answered already (the same token, of the same process) gets the lease that it got: its
        answer may have been lost with a collector that died.

        Args:
            wanted: who asks, for which run.
            last_epoch: the highest epoch that the record holds of the run; 0 for none.

        Raises:
            RunHeld: another process holds it; the message says which and how long its lease has to go.
        """
        with self._lock:
            held = self._live.get(wanted.trace_id)
            if held is not None and not self._is_over(held):
                if wanted.token and (wanted.token, wanted.holder) == (held.token, held.holder):
                    self._live[held.trace_id] = again = replace(
                        held, expires_s=self._clock.monotonic_s() + self.lease_s
                    )
                    return again
                left = held.expires_s - self._clock.monotonic_s()
                raise RunHeld(
                    f"it is run by {held.holder} (epoch {held.epoch}, lease renewed until {left:.1f} s from now)",
                    subject=f"run {wanted.run_id}",
                    hint="Wait until it ends, stop that process, or use another run id.",
                )
            epoch = max(self._epochs.get(wanted.trace_id, 0), last_epoch, held.epoch if held else 0) + 1
            lease = replace(wanted, epoch=epoch, expires_s=self._clock.monotonic_s() + self.lease_s)
            self._live[lease.trace_id] = lease
            self._epochs[lease.trace_id] = epoch
            return lease

    def renew(self, trace_id: bytes, epoch: int) -> Lease:
        """Give a live lease its full time again.

        Raises:
            LeaseLost: it is over, or another epoch holds the run.
        """
        with self._lock:
            lease = self._valid(trace_id, epoch)
            lease = replace(lease, expires_s=self._clock.monotonic_s() + self.lease_s)
            self._live[trace_id] = lease
            return lease

    def of(self, trace_id: bytes, epoch: int) -> Lease | None:
        """Return the lease of this epoch, or None if it is over."""
        with self._lock:
            lease = self._live.get(trace_id)
            return lease if lease is not None and lease.epoch == epoch else None

    def release(self, trace_id: bytes, epoch: int) -> Lease | None:
        """End a lease; return it, or None if this epoch did not hold it any more."""
        with self._lock:
            lease = self._live.get(trace_id)
            if lease is None or lease.epoch != epoch:
                return None
            return self._live.pop(trace_id)

    def admit(self, trace_id: bytes, epoch: int) -> None:
        """Let the holder of `epoch` start something now.

        Raises:
            LeaseLost: this epoch's lease is over; nothing may be started.
            Cancelled: the run was cancelled.
        """
        with self._lock:
            lease = self._live.get(trace_id)
            if lease is not None and lease.cancelled:
                raise Cancelled(
                    "the run was cancelled, and starts nothing any more",
                    subject=f"run {lease.run_id}",
                    hint='run(ID, if_finished="new") begins it anew, from its first step.',
                )
            if self._fencing:
                self._valid(trace_id, epoch)

    def still_held(self, trace_id: bytes, epoch: int) -> None:
        """Raise LeaseLost unless this epoch's lease lives, be its run cancelled or not."""
        if not self._fencing:
            return
        with self._lock:
            self._valid(trace_id, epoch)

    def cancel(self, trace_id: bytes) -> bool:
        """Admit nothing more under a run's lease; return whether anybody holds it now.

        A run that nobody holds needs no memory here: its next `Hold` reads the record.
        """
        with self._lock:
            lease = self._live.get(trace_id)
            if lease is None:
                return False
            self._live[trace_id] = replace(lease, cancelled=True)
            return not self._is_over(lease)

    def held(self, trace_id: bytes) -> bool:
        """Return whether somebody may start things in this run now."""
        with self._lock:
            lease = self._live.get(trace_id)
            return lease is not None and not self._is_over(lease)

    def holder(self, trace_id: bytes) -> Lease | None:
        """Return the lease of who may start things in this run now."""
        with self._lock:
            lease = self._live.get(trace_id)
            return lease if lease is not None and not self._is_over(lease) else None

    def restore(self, lease: Lease) -> None:
        """Take up a lease that the log shows as live: it gets its full time, as its holder could not renew it
        meanwhile.
        """
        with self._lock:
            known = self._epochs.get(lease.trace_id, 0)
            if lease.epoch < known:
                return  # said again before a newer one was granted
            known_lease = self._live.get(lease.trace_id)
            self._live[lease.trace_id] = replace(
                lease,
                expires_s=self._clock.monotonic_s() + self.lease_s,
                cancelled=lease.cancelled or (known_lease is not None and known_lease.cancelled),
            )
            self._epochs[lease.trace_id] = lease.epoch

    def know_epoch(self, trace_id: bytes, epoch: int) -> None:
        """Remember that the log holds this epoch of a run."""
        with self._lock:
            self._epochs[trace_id] = max(self._epochs.get(trace_id, 0), epoch)

    def over(self) -> list[tuple[Lease, LeaseEvent]]:
        """Drop the leases that ended by themselves and return them with the reason."""
        with self._lock:
            ended = [lease for lease in self._live.values() if self._is_over(lease)]
            for lease in ended:
                del self._live[lease.trace_id]
        return [(lease, LeaseEvent.DIED if self._is_dead(lease) else LeaseEvent.EXPIRED) for lease in ended]

    def live(self) -> list[Lease]:
        """Return the leases that are held now."""
        with self._lock:
            return [lease for lease in self._live.values() if not self._is_over(lease)]

    def _valid(self, trace_id: bytes, epoch: int) -> Lease:
        lease = self._live.get(trace_id)
        if lease is not None and lease.epoch == epoch and self._clock.monotonic_s() < lease.expires_s:
            return lease
        current = self._epochs.get(trace_id, 0)
        reason = (
            f"epoch {epoch} was followed by epoch {current}"
            if current > epoch
            else f"the lease of epoch {epoch} ended: it was not renewed within {self.lease_s:g} s"
        )
        raise LeaseLost(
            f"this process may not start anything any more: {reason}",
            subject=f"run {lease.run_id}" if lease else "",
            hint="Start the program again with the same run id: it goes on where the record ends.",
        )

    def _is_over(self, lease: Lease) -> bool:
        return self._clock.monotonic_s() >= lease.expires_s or self._is_dead(lease)

    def _is_dead(self, lease: Lease) -> bool:
        if lease.holder.is_local():
            return not lease.holder.is_alive()
        return self._distant_dead(lease)
