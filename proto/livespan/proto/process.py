"""Which process is which, across reuse of pids, reboots and pid namespaces: what a lease and a lock say of their
holder.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessId", "start_detached", "start_time_ticks", "this_process"]


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, once: a pid alone may be another's tomorrow.

    Attributes:
        pid: in its own pid namespace.
        start_time_ticks: field 22 of /proc/PID/stat, clock ticks since boot.
        boot_id: of the kernel.
        pid_namespace: inode of /proc/PID/ns/pid.
        host: for messages alone.
    """

    pid: int
    start_time_ticks: int
    boot_id: str
    pid_namespace: int
    host: str

    def is_local(self) -> bool:
        """Return whether this process can be looked up from here: same boot, same pid namespace."""
        here = this_process()
        return self.boot_id == here.boot_id and self.pid_namespace == here.pid_namespace

    def is_alive(self) -> bool:
        """Return whether it runs now; only meaningful where `is_local`."""
        return start_time_ticks(self.pid) == self.start_time_ticks

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


def start_time_ticks(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 where there is none (or it is a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # the command's name may hold spaces and brackets
    if fields[0] in {"Z", "X"}:
        return 0
    return int(fields[19])


def this_process() -> ProcessId:
    """Return the identity of the calling process."""
    pid = os.getpid()
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot_id, namespace = "", 0
    return ProcessId(pid, start_time_ticks(pid), boot_id, namespace, socket.gethostname())


def start_detached(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that no terminal's or starter's end takes it along.

    Args:
        command: program and arguments.
        output: what it prints is appended here (made 0600; a link is refused).
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            close_fds=True,
            cwd="/",
        )
    finally:
        os.close(descriptor)
