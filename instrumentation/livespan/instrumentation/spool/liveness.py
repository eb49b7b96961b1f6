"""Whether a writer's process lives, told by a POSIX record lock on the writer's `lock` file.

A record lock belongs to a process: the kernel drops it at the process's death however it died, a forked child does
not get it (a flock it would keep alive), and it is seen from any pid namespace that shares the file. Its one trap:
closing *any* descriptor of the file drops the lock of the process that closes. So the lock file of a folder that
this process writes is never opened again by this process: `is_held` knows those by inode and answers without
opening.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from livespan.proto.errors import Conflict

__all__ = ["Hold", "forget_inherited", "is_held"]

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK: Final = struct.Struct("hhlli")

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
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer: tuple[int, ...] = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, question))
    finally:
        os.close(fd)
    return answer[0] != fcntl.F_UNLCK
