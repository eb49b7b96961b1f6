"""A machine that fails: a disk that answers EIO now and then, a clock that is set a day back or forward.

Both are drawn from a seed and the process's id, so that each life of a collector fails elsewhere.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from livespan.collector.disk import Disk, SystemDisk
from livespan.proto.clock import Clock, SystemClock

__all__ = ["TROUBLES", "JumpingClock", "SickDisk", "Trouble"]

TROUBLES: Final = "troubles"
_EIO_SHARE: Final = 0.01
"""Of the disk's operations: some in each life, with enough between them to get on."""
_JUMP_SHARE: Final = 0.2
_DAY_NS: Final = 86_400 * 10**9


Count = Callable[[], None]


def counter(folder: Path) -> Count:
    """Return a counter that outlives its process: a byte in a file for each time."""
    file = os.open(folder / TROUBLES, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def count() -> None:
        os.write(file, b".")

    return count


class SickDisk:
    """A disk of which one operation in some hundred fails with EIO, half of the writes after they were made."""

    def __init__(self, coin: random.Random, count: Count) -> None:
        self._disk = SystemDisk()
        self._coin = coin
        self._count = count

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        fails = self._fails()
        if fails and self._coin.random() < 0.5:
            raise self._error(path)
        written = self._disk.write(fd, path, buffers, offset)
        if fails:
            raise self._error(path)
        return written

    def sync_file(self, fd: int, path: Path) -> None:
        if self._fails():
            raise self._error(path)
        self._disk.sync_file(fd, path)

    def sync_folder(self, path: Path) -> None:
        if self._fails():
            raise self._error(path)
        self._disk.sync_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        if self._fails():
            raise self._error(target)
        self._disk.replace(source, target)

    def remove(self, path: Path) -> None:
        if self._fails():
            raise self._error(path)
        self._disk.remove(path)

    def _fails(self) -> bool:
        return self._coin.random() < _EIO_SHARE

    def _error(self, path: Path) -> OSError:
        self._count()
        return OSError(errno.EIO, os.strerror(errno.EIO), str(path))


class JumpingClock:
    """Wall time that is set a day back or forward now and then; monotonic time goes on, as it does in life."""

    def __init__(self, coin: random.Random, count: Count) -> None:
        self._coin = coin
        self._count = count
        self._off_ns = 0

    def wall_ns(self) -> int:
        if self._coin.random() < _JUMP_SHARE:
            self._count()
            self._off_ns = self._coin.choice((-_DAY_NS, 0, _DAY_NS))
        return time.time_ns() + self._off_ns

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a collector is given instead of the machine's own; the machine's own where it is well."""

    clock: Clock = field(default_factory=SystemClock)
    disk: Disk = field(default_factory=SystemDisk)

    @classmethod
    def told(cls, words: str, folder: Path) -> Trouble:
        """Return the trouble of "eio:SEED", "clock:SEED" or "";
        each time that it strikes is counted in `folder`.
        """
        what, _, seed = words.partition(":")
        coin = random.Random(f"{seed}/{os.getpid()}")
        if what == "eio":
            return cls(disk=SickDisk(coin, counter(folder)))
        if what == "clock":
            return cls(clock=JumpingClock(coin, counter(folder)))
        if what:
            raise ValueError(f"no such trouble: {words}")
        return cls()
