"""Doubles of the disk seam: one that forgets what was not synced, one that fails, one that writes
down what it is asked.

`ForgetfulDisk` models a machine that loses power. It lets everything through to a real tree and
keeps, beside it, what a disk is bound to keep: a file's bytes as of its last `sync_file`, a
folder's names as of its last `sync_folder`. `cut()` makes the real tree equal to that. Files and
names that others made in the tree (delta-rs) are seen when the seam syncs them, and at the cut.

    real tree ── sync_file(fd) ────▶ bytes by inode   ┐
              ── sync_folder(path) ─▶ names by inode  ┴─ cut() ─▶ real tree, rebuilt from new files

After the cut this disk refuses everything: whatever still runs belongs to a machine that is off.
Open it anew with another one. No sync reaches the machine's own disk, so tests stay fast.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from livespan.collector.disk import SystemDisk

__all__ = ["FailingDisk", "ForgetfulDisk", "PowerIsCutError", "RecordingDisk"]

_SECTOR = 512


class PowerIsCutError(OSError):
    """Raised by a disk whose machine is off."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the power is cut")


@dataclass
class _Durable:
    """What the disk is bound to keep, by inode. A folder's names map to inodes; a file's content is
    bytes.
    """

    names: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    content: dict[int, bytes] = field(default_factory=dict[int, bytes])


class ForgetfulDisk:
    """A `Disk` over the tree under `root`, whose present state counts as durable. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._durable = _Durable()
        self._held: dict[int, int] = {}
        self._off = False
        self._system = SystemDisk()
        for folder, _, files in os.walk(root):
            self._keep_folder(Path(folder))
            for name in files:
                path = Path(folder, name)
                self._durable.content[self._hold(path)] = path.read_bytes()

    @property
    def is_off(self) -> bool:
        """Whether the power was cut."""
        return self._off

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        with self._lock:
            self._check()
            return self._system.write(fd, path, buffers, offset)

    def sync_file(self, fd: int, path: Path) -> None:
        with self._lock:
            self._check()
            # Opened again by number: the caller's descriptor may be for writing only, and the path
            # may have changed hands.
            inode = self._hold(Path(f"/proc/self/fd/{fd}"))
            self._durable.content[inode] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            self._check()
            self._keep_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        with self._lock:
            self._check()
            self._system.replace(source, target)

    def remove(self, path: Path) -> None:
        with self._lock:
            self._check()
            self._system.remove(path)

    def cut(self, keep: random.Random | None = None) -> None:
        """Cut the power: the tree becomes what was synced.

        Args:
            keep: where given, each unsynced sector, length and name survives by the toss of this
                coin, as a disk may have it.
        """
        with self._lock:
            if self._off:
                return
            self._off = True
            current = self._current()
            rebuilt = self._root.with_name(self._root.name + ".after-cut")
            rebuilt.mkdir()
            self._rebuild(self._root.stat().st_ino, rebuilt, current, keep)
            gone = self._root.with_name(self._root.name + ".before-cut")
            self._root.rename(gone)
            rebuilt.rename(self._root)
            shutil.rmtree(gone)
            self.close()

    def close(self) -> None:
        """Let go of the inodes that are held."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _check(self) -> None:
        if self._off:
            raise PowerIsCutError

    def _hold(self, path: Path) -> int:
        # A held descriptor keeps the inode's number from being given to another file after this one
        # is removed.
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        inode = os.fstat(fd).st_ino
        if inode in self._held:
            os.close(fd)
        else:
            self._held[inode] = fd
        return inode

    def _keep_folder(self, path: Path) -> None:
        self._durable.names[self._hold(path)] = {
            entry.name: self._hold(path / entry.name) for entry in os.scandir(path)
        }

    def _current(self) -> _Durable:
        current = _Durable()
        for folder, _, files in os.walk(self._root):
            path = Path(folder)
            current.names[path.stat().st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
            for name in files:
                file = path / name
                current.content[file.stat().st_ino] = file.read_bytes()
        return current

    def _is_folder(self, inode: int, current: _Durable) -> bool:
        held = self._held.get(inode)
        return inode in current.names if held is None else stat.S_ISDIR(os.fstat(held).st_mode)

    def _rebuild(self, inode: int, target: Path, current: _Durable, keep: random.Random | None) -> None:
        for name, child in self._names(inode, current, keep).items():
            path = target / name
            if self._is_folder(child, current):
                path.mkdir()
                self._rebuild(child, path, current, keep)
            else:
                path.write_bytes(self._content(child, current, keep))

    def _names(self, inode: int, current: _Durable, keep: random.Random | None) -> dict[str, int]:
        names = dict(self._durable.names.get(inode, {}))
        if keep is None:
            return names
        now = current.names.get(inode, names)
        arrived = {name: child for name, child in now.items() if names.get(name) != child}
        for name, child in arrived.items():
            if keep.random() < 0.5:
                # A rename is one change: the name that the file had goes with the one that it gets.
                for old in [each for each, owner in names.items() if owner == child and now.get(each) != child]:
                    del names[old]
                names[name] = child
        for name in [each for each, owner in names.items() if each not in now and owner not in now.values()]:
            if keep.random() < 0.5:
                del names[name]
        return names

    def _content(self, inode: int, current: _Durable, keep: random.Random | None) -> bytes:
        durable = self._durable.content.get(inode, b"")
        now = current.content.get(inode, durable)
        if keep is None or now == durable:
            return durable
        size = len(now) if keep.random() < 0.5 else len(durable)
        result = bytearray(durable[:size].ljust(size, b"\0"))
        for start in range(0, size, _SECTOR):
            end = min(start + _SECTOR, size)
            if now[start:end] != bytes(result[start:end]) and keep.random() < 0.5:
                result[start:end] = now[start:end].ljust(end - start, b"\0")
        return bytes(result)


class RecordingDisk:
    """The system's disk, which also writes down each operation: `("sync_file", path)`, in their
    order.
    """

    def __init__(self, before: Callable[[str, Path], None] | None = None) -> None:
        self.calls: list[tuple[str, Path]] = []
        self._before = before
        self._system = SystemDisk()

    def count(self, operation: str) -> int:
        """Return how often `operation` was asked for."""
        return sum(1 for name, _ in self.calls if name == operation)

    def write(self, fd: int, path: Path, buffers: Sequence[bytes], offset: int) -> int:
        self._note("write", path)
        return self._system.write(fd, path, buffers, offset)

    def sync_file(self, fd: int, path: Path) -> None:
        self._note("sync_file", path)
        self._system.sync_file(fd, path)

    def sync_folder(self, path: Path) -> None:
        self._note("sync_folder", path)
        self._system.sync_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        self._note("replace", target)
        self._system.replace(source, target)

    def remove(self, path: Path) -> None:
        self._note("remove", path)
        self._system.remove(path)

    def _note(self, operation: str, path: Path) -> None:
        self.calls.append((operation, path))
        if self._before is not None:
            self._before(operation, path)


class FailingDisk(RecordingDisk):
    """The system's disk, which fails the operations named in `failing` with `error` (an errno) as
    long as they stand there.
    """

    def __init__(self, error: int = errno.EIO) -> None:
        super().__init__(self._fail)
        self.failing: set[str] = set()
        self._error = error

    def _fail(self, operation: str, path: Path) -> None:
        if operation in self.failing:
            raise OSError(self._error, os.strerror(self._error), str(path))
