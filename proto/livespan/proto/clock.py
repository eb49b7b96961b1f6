"""The only door to wall time, fresh ids and randomness. Everything else is handed one of these.

Two notions of time live here and are never mixed. *Wall time* (`wall_ns`, nanoseconds since the epoch, UTC) is for
people: it stands in tables and pages and orders nothing. *Monotonic time* (`monotonic_s`) measures leases, deadlines
and latencies.
"""

from __future__ import annotations

import os
import random as _random
import time
import uuid as _uuid
from typing import Protocol

__all__ = ["Clock", "SystemClock", "random_float", "random_hex", "random_id", "random_uuid", "wall_ns"]

wall_ns = time.time_ns

_ids = _random.Random()  # seeded by the operating system; for names, not for secrets
os.register_at_fork(after_in_child=_ids.seed)


class Clock(Protocol):
    """What a component may ask of time. Tests pass one that stands still until it is told to go on."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC; may jump either way."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; meaningless across machines and reboots."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()


def random_hex(size_bytes: int) -> str:
    """Return a fresh random id as hex digits (two per byte), from the operating system."""
    return os.urandom(size_bytes).hex()


def random_id() -> str:
    """Return a fresh id, 16 hex digits, without a call to the system and without letting go of the GIL.

    A thread that lets go of the GIL for an instant, again and again, keeps all others waiting for it: each time their
    five milliseconds of patience start anew.
    """
    return f"{_ids.getrandbits(64):016x}"


def random_uuid() -> _uuid.UUID:
    """Return a fresh UUID, version 4."""
    return _uuid.uuid4()


def random_float() -> float:
    """Return a float in [0, 1)."""
    return _random.random()
