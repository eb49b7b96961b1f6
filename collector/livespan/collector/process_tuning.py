"""How the collector's process shares Python's lock, keeps freed memory, and looks for garbage. Figures: two cores."""

from __future__ import annotations

import gc
import sys
from typing import Final

from livespan.proto.malloc import keep_freed_bytes

__all__ = ["tune_at_end", "tune_at_start", "tune_when_recovered"]

_TURN_S: Final = 0.0005
"""An acknowledgement goes through four threads, and each turn of each waits this long while the publisher computes.
With 20 us a flood of 1 KB nodes took 20 % more processor time, and nobody waited less."""
_KEPT_BYTES: Final = 32 * 1024 * 1024
"""Requests of megabytes come and go; each block that glibc gives back to the kernel is zeroed page by page when it is
wanted again: 7 % of the processor time of a flood of 50 KB states, for 30 MB."""


def tune_at_start() -> None:
    """Set turns and memory; before there are threads."""
    sys.setswitchinterval(_TURN_S)
    keep_freed_bytes(_KEPT_BYTES)


def tune_when_recovered() -> None:
    """Set the garbage collector, once the hot tier holds what the log held."""
    # Tens of thousands of objects that stay: walking them for garbage would hold up effects that wait.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def tune_at_end() -> None:
    """Show the collector's objects again: libraries count what is left at the very end."""
    gc.unfreeze()
