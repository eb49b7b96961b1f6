"""Protections that can be taken away, in the demo's own processes alone, to show that the demo would notice.

spool    records wait in the agent's memory and a thread exports them every 5 s, as a BatchSpanProcessor does
intent   an effect's start is spooled like any record: nobody waits until it is acknowledged
lease    the collector lets every life start effects, whoever holds the run (collector_process.py)
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from unittest.mock import patch

__all__ = ["Sabotage", "sabotaged"]


class Sabotage(StrEnum):
    """Which protection is taken away."""

    NONE = "none"
    SPOOL = "spool"
    INTENT = "intent"
    LEASE = "lease"


@contextmanager
def sabotaged(sabotage: Sabotage) -> Generator[None]:
    """Take a protection of this process away while the block runs; what is the collector's stays."""
    if sabotage is Sabotage.SPOOL:
        from livespan.replay.demo.memory_spool import MemorySpool

        with patch("livespan.instrumentation.connection.Spool", MemorySpool):
            yield
    elif sabotage is Sabotage.INTENT:
        from livespan.instrumentation.permission import Permission

        # False is what it answers where a user lets effects go on without the collector: the start is then spooled.
        with patch.object(Permission, "ask", return_value=False):
            yield
    else:
        yield
