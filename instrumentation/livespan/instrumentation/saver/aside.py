"""Blocking work for asyncio, on threads of its own and in an empty context: whatever it starts belongs to no run, so a
saver's calls never count as a program's branches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Final, TypeVar

__all__ = ["aside", "awaited"]

_T = TypeVar("_T")
_THREADS: Final = 8
_pools: dict[int, ThreadPoolExecutor] = {}


def aside(work: Callable[[], _T]) -> _T:
    """Do some work here, in an empty context."""
    return Context().run(work)


async def awaited(work: Callable[[], _T]) -> _T:
    """Do some work on a thread, in an empty context; a forked child has threads of its own."""
    loop = asyncio.get_running_loop()
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = _pools.setdefault(os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="livespan-saver"))
    return await Context().run(loop.run_in_executor, pool, aside, work)
