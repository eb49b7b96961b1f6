"""Whether a writer's process lives, told by a POSIX record lock on the writer's `lock` file.

A record lock belongs to a process (proto/record_lock.py says more; a flock a forked child would keep alive). Its one
trap: closing *any* descriptor of the file drops the lock of the process that closes. So the lock file of a folder that
this process writes is never opened again by this process: `is_held` knows those by inode and answers without
opening.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from livespan.proto.errors import Conflict
from livespan.proto.record_lock import is_locked

__all__ = ["Hold", "forget_inherited", "is_held"]

_held_here: set[tuple[int, int]] = set()


class Hold:
    """The lock of one writer, held from construction to `release` or to the death of the process."""

    __slots__ = ("_fd", "_inode")

    def __init__(self, path: Path) -> None:
        """Create the lock file (0600) and lock it.

        Raises:
            OSError: it cannot be created (it exists, no space).
            Conflict: another process holds it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        status = os.fstat(self._fd)
        self._inode = (status.st_dev, status.st_ino)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise Conflict("another process holds the writer's lock", subject=str(path)) from error
        _held_here.add(self._inode)

    def release(self) -> None:
        """Let go: from here on the writer counts as dead."""
        _held_here.discard(self._inode)
        self.drop_inherited()

    def drop_inherited(self) -> None:
        """Close the descriptor. In a forked child that frees a number and leaves the parent's lock alone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def forget_inherited() -> None:
    """In a forked child: what the parent holds is not held by this process."""
    _held_here.clear()


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock file; False where there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
        if (status.st_dev, status.st_ino) in _held_here:
            return True
    except FileNotFoundError:
        return False
    return is_locked(path)
