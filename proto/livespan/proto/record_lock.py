"""Asking whether any process holds a POSIX record lock on a file: how one process tells that another lives where it
cannot look it up, as in another container.

A record lock belongs to a process: the kernel drops it at the process's death however it died, a forked child does
not get it, and it is seen from every pid namespace of the machine that shares the file.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

__all__ = ["is_locked"]

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK: Final = struct.Struct("hhlli")


def is_locked(path: Path) -> bool:
    """Return whether another process holds a record lock on a file; False where there is no such file.

    Closing any descriptor of a file drops the record locks that the closing process has on it: never ask about a file
    that this process has locked itself.

    Raises:
        OSError: the file is there, and cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer: tuple[int, ...] = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, question))
    finally:
        os.close(fd)
    return answer[0] != fcntl.F_UNLCK
