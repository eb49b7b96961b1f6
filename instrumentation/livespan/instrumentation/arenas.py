"""How many arenas glibc's malloc keeps for the threads of this process."""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["ARENAS", "share_arenas"]

ARENAS: Final = 2
_M_ARENA_MAX: Final = -8


def share_arenas() -> bool:
    """Let all threads that start from now on share two arenas; return whether this C library does that (glibc does).

    Each connection to the collector has threads of its own. In arenas of their own, up to eight a core, what one thread
    has freed is not there for the next: a drain grew by 3 to 16 MB with some of the collectors that died under it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, ARENAS))
