"""The collector's hold on its home: the lock that makes it the only one, and the address that lets others find it."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from livespan.collector.difference import first_difference
from livespan.collector.notices import Notices
from livespan.proto.errors import HomeHeld, InvalidInput, Unavailable
from livespan.proto.home import Home
from livespan.proto.process import this_process
from livespan.proto.rendezvous import PROTOCOL_VERSION, Address, read_address

__all__ = ["HomeLock", "make_way", "socket_path"]

_SOCKET_PATH_LIMIT: Final = 100
"""sun_path holds 108 bytes with its end; what is longer cannot be bound."""
_TRY_S: Final = 0.5


class HomeLock:
    """Held from `acquire` to `release`, or to the process's end whatever ends it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._announced = b""
        self._notices = Notices("collector")
        self._descriptor = -1  # O_CLOEXEC, and the collector forks nobody: the lock ends with this process

    def acquire(self) -> None:
        """Take the home.

        Raises:
            HomeHeld: another collector serves it.
            Unavailable: the lock file cannot be opened.
        """
        try:
            self._descriptor = os.open(self._home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Unavailable(
                f"the home cannot be locked ({error.strerror})",
                subject=str(self._home.lock),
                hint="Is the disk writable and not full?",
            ) from error
        deadline = time.monotonic() + _TRY_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)  # somebody may only be looking, see proto.lock_file
                    continue
                address = read_address(self._home)
                who = f"pid {address.pid}" if address else "another process"
                self.release()
                raise HomeHeld(
                    f"{who} serves this home already",
                    subject=str(self._home.root),
                    hint=f"Use it, stop it with `livespan stop --home {self._home.root}`, or choose another --home.",
                ) from None
            return

    def check(self) -> None:
        """See whether the home is still the one that was locked.

        Raises:
            HomeHeld: the lock file was removed or replaced, alone or with all of the home: what lies there now is, or
                may be at any time, another collector's.
        """
        ours = os.fstat(self._descriptor)
        try:
            found = self._home.lock.lstat()
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError:
            return  # a disk that does not answer has taken nothing away
        if found is None or (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
            raise HomeHeld(
                "the home was removed or replaced while this collector served it",
                subject=str(self._home.lock),
                hint="Stop the collector (`livespan stop`) before its home is moved or removed.",
            )

    def announce(self, target: str, grpc: str, http: str = "", *, embedded: bool = False) -> None:
        """Say where the collector listens; readers see the old text or the new one, never half."""
        me = this_process()
        address = Address(
            me.pid,
            me.start_time_ticks,
            me.boot_id,
            me.pid_namespace,
            me.host,
            PROTOCOL_VERSION,
            target,
            grpc,
            http,
            embedded,
        )
        self._announced = msgspec.json.encode(address)
        self._write_address()

    def keep_announced(self) -> None:
        """Write the address again where it is not what was announced: nobody new would find us."""
        try:
            found = self._home.address.read_bytes()
        except OSError:
            found = b""
        if self._announced and found != self._announced:
            at, path = first_difference(found, self._announced), str(self._home.address)
            self._notices.error("address damaged", path=path, offset=at, hint="It was written again.")
            with suppress(OSError):  # it is tried again in a second
                self._write_address()

    def withdraw(self) -> None:
        """Take the address back: from now on nobody new finds us."""
        announced, self._announced = self._announced, b""
        if announced:
            self._home.address.unlink(missing_ok=True)

    def _write_address(self) -> None:
        draft = self._home.address.with_suffix(".tmp")
        draft.write_bytes(self._announced)
        draft.replace(self._home.address)

    def release(self) -> None:
        """Let go of the home."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1


def socket_path(home: Home, runtime_folder: Path | None) -> Path:
    """Return where the collector's unix socket goes: in the home, or where that is too long, in a 0700 folder of its
    own.

    Args:
        home: whose collector listens.
        runtime_folder: `$XDG_RUNTIME_DIR`, None where it is not set.

    Raises:
        Unavailable: no folder of our own can be had.
    """
    inside = home.root / "collector.sock"
    if len(os.fsencode(inside)) <= _SOCKET_PATH_LIMIT:
        return inside
    name = f"{xxhash.xxh3_64_hexdigest(os.fsencode(home.root))}.sock"
    folder = (runtime_folder or Path(tempfile.gettempdir())) / f"livespan-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Unavailable(
            "the folder for the collector's socket is not ours alone",
            subject=str(folder),
            hint=f"Remove it, or `chmod 700 {folder}`.",
        )
    return folder / name


def make_way(path: Path) -> None:
    """Remove the socket that an earlier life left behind.

    Raises:
        InvalidInput: something else lies there.
    """
    if path.exists() and not path.is_socket():
        raise InvalidInput("there is something else than a socket", subject=str(path), hint="Give another --socket.")
    path.unlink(missing_ok=True)
