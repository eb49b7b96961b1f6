"""Waking the drain without a syscall per record: a word that says it sleeps, and a FIFO to wake it by.

    drain (WakeSource)                          writer (Bell)
    word = 1                                    commit word of a record, release the lock
    barrier                                     barrier (that release)
    anything pending? ── yes ─> word = 0        word == 1? ── no ──> nothing
    poll the FIFO, at most 1 s                       └── yes ──> word = 0, one byte into the FIFO
    word = 0, empty the FIFO

Ordering. Each side stores, then loads what the other stores; if neither saw the other, the drain would sleep on a
record. That takes a full barrier between store and load on both sides. On x86 the writer has it in the release of
the lock (an atomic read-modify-write) and the drain in the lock that it takes and lets go of for this. Where a
release is weaker (arm64), or where a writer dies between clearing the word and writing the byte, the wake can be
missed: the drain therefore never sleeps for longer than `MAX_SLEEP_S`, and a record can wait that long, never for
ever.

The writer clears the word before it rings, so that a drain which died asleep costs one byte and not one per record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from livespan.instrumentation.spool import libc
from livespan.instrumentation.spool.folder import map_page
from livespan.instrumentation.spool.layout import CONTROL, WAKE
from livespan.proto.errors import InvalidInput

__all__ = ["MAX_SLEEP_S", "Bell", "WakeSource"]

MAX_SLEEP_S: Final = 1.0


class Bell:
    """The writers' side. `asleep[0]` is 1 while the drain sleeps; `ring` wakes it."""

    __slots__ = ("_fd", "asleep")

    def __init__(self, spool: Path) -> None:
        """Open (or create) the spool's control page and FIFO.

        Raises:
            InvalidInput: what stands there is not ours.
            OSError: they cannot be created.
        """
        self.asleep: memoryview[int] = memoryview(map_page(spool / CONTROL, create=True)).cast("Q")
        self._fd = _open_fifo(spool / WAKE)

    def ring(self) -> None:
        """Wake the drain if it sleeps; a full FIFO means that it was rung already."""
        self.asleep[0] = 0
        libc.write_byte(self._fd)

    def close(self) -> None:
        """Close the FIFO; ringing is then without effect."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class WakeSource:
    """The drain's side; one per spool. The owner closes it."""

    __slots__ = ("_asleep", "_barrier", "_fd", "_poll")

    def __init__(self, spool: Path) -> None:
        """Open (or create) the spool's control page and FIFO. Raises as `Bell` does."""
        self._asleep: memoryview[int] = memoryview(map_page(spool / CONTROL, create=True)).cast("Q")
        self._asleep[0] = 0
        self._fd = _open_fifo(spool / WAKE)
        self._barrier = threading.Lock()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def sleep(self, timeout_s: float, pending: Callable[[], bool]) -> bool:
        """Sleep until a writer rings, or the timeout (cut to `MAX_SLEEP_S`); return whether there may be work.

        Args:
            pending: asked once the word is set; True means that something was appended meanwhile, and there is no
            sleep.
        """
        self._asleep[0] = 1
        with self._barrier:
            pass
        try:
            if pending():
                return True
            return bool(self._poll.poll(min(timeout_s, MAX_SLEEP_S) * 1000))
        finally:
            self._asleep[0] = 0
            self._empty()

    def fileno(self) -> int:
        """The FIFO's descriptor, for a caller that polls other things beside it."""
        return self._fd

    def close(self) -> None:
        """Close the FIFO; the word says awake."""
        self._asleep[0] = 0
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _empty(self) -> None:
        try:
            while len(os.read(self._fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            return


def _open_fifo(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    try:
        # Both ways, so that a writer never gets SIGPIPE and a reader never sees an end.
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidInput("the wake FIFO is a link", subject=str(path)) from error
        raise
    status = os.fstat(fd)
    if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
        os.close(fd)
        raise InvalidInput("not a FIFO of ours", subject=str(path))
    return fd
