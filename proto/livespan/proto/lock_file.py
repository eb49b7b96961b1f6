"""Whether some process holds a lock file: how others see that a home's collector or drain runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["is_locked"]


def is_locked(path: Path) -> bool:
    """Return whether some process holds the lock of this file; no file is no lock, and a link is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not see each other; an owner that starts meanwhile tries again for a moment.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
