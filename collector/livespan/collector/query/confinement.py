"""What a process gives up for good before it runs a user's statement.

memory       its own data may grow by what one statement is allowed, and a margin; then allocation fails
files        it can write, make, cut and remove none, dump no core, and gain no rights by starting another program
the others   it has what time of the processor is left, and is the first that a kernel short of memory ends
its end      with the collector's own, whatever ends that
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["confine", "end_first", "end_with_parent", "has_file_wall", "resident_bytes", "write_no_files"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_RESTRICT_SELF: Final = 446
"""The same numbers on every processor."""
_LANDLOCK_VERSION: Final = 1
_WRITES: Final = 1 << 1 | sum(1 << bit for bit in range(4, 13))
"""Open a file for writing; remove files and folders; make any."""
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_NICE: Final = 10
_MARGIN_BYTES: Final = 256 * 1024 * 1024
"""Above DuckDB's own limit: the stacks of its threads and Arrow's (8 MiB each, little of it ever used), Arrow's buffers
of a scan, rows on their way out.
"""
_ADDRESS_MARGIN_BYTES: Final = 2 * 1024**3
"""Reserved addresses, mapped files and unpublished rows cost address space and no memory of its own."""


def end_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends, and with it the collector."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_first() -> None:
    """Be the first that a kernel short of memory ends."""
    with suppress(OSError):  # /proc may be read-only in a container
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def confine(memory_bytes: int) -> None:
    """Give up everything that a statement does not need; libraries are loaded and warm already.

    Args:
        memory_bytes: what DuckDB may use from here on.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.nice(_NICE)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_DATA, _status_bytes("VmData:") + memory_bytes + _MARGIN_BYTES)
    _limit(resource.RLIMIT_AS, _status_bytes("VmSize:") + memory_bytes + _ADDRESS_MARGIN_BYTES)


def write_no_files() -> bool:
    """Have the kernel refuse, to this thread and all that it starts, to write, make, cut or remove any file; return
    False where it has no such wall (Landlock; Linux 5.13, and 6.2 for cutting).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = _landlock_version()
    if version < 1:
        return False
    refused = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = ctypes.c_uint64(refused)
    rules = libc.syscall(
        _LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0
    )
    if rules < 0:
        return False
    try:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def has_file_wall() -> bool:
    """Return whether `write_no_files` can do anything here."""
    return _landlock_version() >= 1


def _landlock_version() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    return version


def resident_bytes() -> int:
    """Return how much memory of its own this process has now."""
    return _status_bytes("RssAnon:")


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (least, least))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
