"""The threads in which effects of coroutines wait for their permission."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

__all__ = ["permission_pool"]

_pool: list[ThreadPoolExecutor] = []


def permission_pool() -> ThreadPoolExecutor:
    """Return this process's; a forked child makes its own."""
    if not _pool:
        _pool.append(ThreadPoolExecutor(8, thread_name_prefix="livespan-permission"))
    return _pool[0]


os.register_at_fork(after_in_child=_pool.clear)
