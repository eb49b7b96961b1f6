"""What freed memory glibc's malloc keeps in this process, and for whom (mallopt(3), malloc_trim(3)). Other C libraries
are left as they are.

By itself it gives each thread an arena, up to eight a core, and what one has freed is not there for the next. And of a
heap it gives back the end alone: what is freed below a block that stays is kept for good.
"""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["give_back", "keep_freed_bytes", "share_arenas"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def share_arenas(number: int) -> bool:
    """Let all threads that start from now on share so many arenas; return whether this C library does that."""
    return _set(_M_ARENA_MAX, number)


def keep_freed_bytes(size: int) -> bool:
    """Keep blocks below this size, and as much at the heap's end, when they are freed: the kernel zeroes each page
    that it gives anew. Return whether this C library does that.
    """
    return _set(_M_TRIM_THRESHOLD, size) and _set(_M_MMAP_THRESHOLD, size)


def give_back() -> bool:
    """Give every page that holds nothing back to the kernel now; return whether any was."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))


def _set(parameter: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(parameter, value))
