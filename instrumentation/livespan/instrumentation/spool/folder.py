"""Making and checking the folders of a spool: who owns them, who may write to them, how a writer's folder comes to be.

    <spool>/                          0700
      control, wake                   see wake.py
      .<family>-<writer>.tmp/         a folder that is being made
      <family>-<writer>/              0700
        lock, ack, meta.json          liveness, watermark, who it is
        00000001.seg ...              what was appended

A writer's folder appears under its own name only when its lock is held, so nobody takes a newborn writer for a dead
one.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from livespan.instrumentation.spool.layout import ACK, ACK_BYTES, LOCK, META, Position, WriterMeta, write_watermark
from livespan.instrumentation.spool.liveness import Hold
from livespan.proto.errors import InvalidInput, NotFound

__all__ = [
    "NewFolder",
    "check_folder",
    "make_spool_folder",
    "make_writer_folder",
    "map_page",
    "remove_folder",
]


class NewFolder(NamedTuple):
    """A writer's folder, its lock held, its `ack` mapped: word 0 is the watermark, written by the drain."""

    path: Path
    hold: Hold
    ack: memoryview[int]


def check_folder(path: Path) -> None:
    """Refuse a folder that somebody else could have written to.

    Raises:
        NotFound: there is none.
        InvalidInput: it is a link or no folder, another user's, or writable by others.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError as error:
        raise NotFound("there is no such spool folder", subject=str(path)) from error
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidInput(
            "a spool folder must be a folder, not a link or a file",
            subject=str(path),
            hint="Remove what stands there, or set LIVESPAN_HOME to a folder of your own.",
        )
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise InvalidInput(
            "the spool folder belongs to another user, or others may write to it",
            subject=str(path),
            hint=f"chown it to yourself and `chmod 700 {path}`.",
        )


def make_spool_folder(spool: Path) -> None:
    """Make the spool folder (0700) where it is missing, and check it.

    Raises:
        InvalidInput: it is not ours alone.
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(spool, 0o700)
    check_folder(spool)


def make_writer_folder(spool: Path, name: str, meta: WriterMeta) -> NewFolder:
    """Make the folder of a new writer, whole or not at all.

    Raises:
        OSError: it cannot be made (no space, no permission).
    """
    path = spool / name
    temporary = spool / f".{name}.tmp"
    os.mkdir(temporary, 0o700)
    hold: Hold | None = None
    try:
        hold = Hold(temporary / LOCK)
        ack = memoryview(map_page(temporary / ACK, create=True)).cast("Q")
        write_watermark(ack, Position(0, 0))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary / META, flags, 0o600)
        try:
            os.write(fd, msgspec.json.encode(meta))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        if hold is not None:
            hold.release()
        remove_folder(temporary)
        raise
    return NewFolder(path, hold, ack)


def remove_folder(path: Path) -> None:
    """Remove a writer's folder and what is in it; its lock goes last, so that half removed it is still a dead
    writer's."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(path), key=lambda name: name == LOCK):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path / name)
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # The keeper of a spool that closes has just made a file there: the next look removes it.


def map_page(path: Path, *, create: bool) -> mmap.mmap:
    """Map a file of one page (4096 bytes), shared and writable; made (0600) where it is missing.

    Raises:
        InvalidInput: it is no file of ours.
        FileNotFoundError: there is none, and none was to be made.
        OSError: it cannot be opened, or there is no space for it.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags | os.O_CREAT if create else flags, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise InvalidInput("not a file of ours", subject=str(path))
        # Allocating is idempotent and leaves what is there, so that two who create at once agree.
        os.posix_fallocate(fd, 0, ACK_BYTES)
        return mmap.mmap(fd, ACK_BYTES)
    finally:
        os.close(fd)
