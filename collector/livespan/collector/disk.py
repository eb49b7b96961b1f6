"""The seam to the disk: the few operations that durability rests on, so that tests can cut the
power or fail a sync.

Here are the operations that make bytes or names survive the machine, and those whose order against
them matters. Opening and reading files is not here: it changes nothing. What holds for every
implementation:

    write(fd)      the bytes are in the page cache            survives the process, not the machine
    sync_file(fd)  the file's bytes and length are on disk    its name may not be
    replace, remove, creating a file                          the names are in the page cache
    sync_folder    the folder's names are on disk             the bytes behind them may not be

So a new file is durable after `sync_file` and then `sync_folder` of each folder above it that is
new.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

__all__ = ["Disk", "SystemDisk", "write_all"]

_IOV_MAX: Final = 1024
"""Linux takes no more buffers in one pwritev."""


class Disk(Protocol):
    """What the collector does to files it must not lose. Holds nothing open; descriptors belong to
    the caller.

    Every method raises OSError, as the system call does. Methods may be called from any thread.
    """

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        """Write at most 1024 buffers at `offset` (bytes) and return how many bytes were written;
        `path` is for messages.
        """
        ...

    def sync_file(self, fd: int, path: Path) -> None:
        """Return when the file's bytes and length are on disk (fdatasync)."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Return when the names in this folder are on disk."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, atomically, in place of what had it; durable after
        `sync_folder`.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a file's name; durable after `sync_folder`."""
        ...


class SystemDisk:
    """The operating system's own calls."""

    __slots__ = ()

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def sync_file(self, fd: int, path: Path) -> None:
        os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        os.unlink(path)


def write_all(disk: Disk, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
    """Write all buffers, one behind the other, from `offset` on; return the offset behind them.

    Raises:
        OSError: the disk refused; what was written until then stays written.
    """
    for start in range(0, len(buffers), _IOV_MAX):
        chunk = buffers[start : start + _IOV_MAX]
        size = sum(map(len, chunk))
        written = disk.write(fd, path, chunk, offset)
        if written < size:
            _write_rest(disk, fd, path, b"".join(chunk)[written:], offset + written)
        offset += size
    return offset


def _write_rest(disk: Disk, fd: int, path: Path, rest: bytes, offset: int) -> None:
    # A short write is rare (a signal, a nearly full disk), so a copy costs nothing that matters.
    while rest:
        written = disk.write(fd, path, [rest], offset)
        rest = rest[written:]
        offset += written
