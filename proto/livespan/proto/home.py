"""The home: the folder in which agent, drain and collector of one machine meet. This file says where everything lies
in it.

    HOME/                          0700, owned by the user
      collector.lock               held by the collector that serves the home
      collector.addr               JSON: pid, version, addresses; written when it is ready, removed when it leaves
      collector.sock               gRPC on a unix socket; beside it `Intend`'s own; elsewhere where the path is long
      collector.log                what a detached collector prints
      forward.json                 up to where the log was forwarded, with `serve --forward`
      log/                         the fsynced log (collector)
      lake/{nodes,content}/        Delta tables; lake/views.sql opens them in plain DuckDB
      spool/                       what agents wrote and the collector has not acknowledged yet
        drain.lock, drain.log, control, wake, refused/
        <family>-<writer>/         one folder per writer

Which home: the flag, else `LIVESPAN_HOME`, else `~/.local/state/livespan`, where `~` is the passwd entry's: a restart
by cron or systemd has another HOME, working directory or XDG variable, would find an empty home, and charge the card
again.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from livespan.proto.errors import InvalidInput, Unavailable

__all__ = ["Home", "default_home", "file_system"]

_UNSAFE_FILE_SYSTEMS = {
    "tmpfs": "a reboot empties it",
    "ramfs": "a reboot empties it",
    "overlay": "it goes with the container; mount a volume",
    "nfs": "locks and fsync over NFS cannot be relied on",
    "nfs4": "locks and fsync over NFS cannot be relied on",
}


def default_home() -> Path:
    """Return the home of this user where nothing else was said."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "livespan"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home. `root` is absolute; nothing is created until `create` is called."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "collector.lock"

    @property
    def address(self) -> Path:
        return self.root / "collector.addr"

    @property
    def collector_output(self) -> Path:
        return self.root / "collector.log"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def drain_lock(self) -> Path:
        return self.spool / "drain.lock"

    @property
    def drain_output(self) -> Path:
        return self.spool / "drain.log"

    def create(self) -> bool:
        """Make the home (0700) if it is not there; return whether it was made.

        Raises:
            InvalidInput: it belongs to another user, or others may write to it.
            Unavailable: it cannot be made or written to (read-only mount, no space).
        """
        made = False
        try:
            if not self.root.is_dir():
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                made = True
            self.spool.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise InvalidInput(
                "the home is not a folder", subject=str(self.root), hint="Point LIVESPAN_HOME at a folder of your own."
            ) from error
        except OSError as error:
            raise Unavailable(
                f"the home cannot be made or written to ({error.strerror})",
                subject=str(self.root),
                hint="Set LIVESPAN_HOME (or --home) to a folder on a writable disk with free space.",
            ) from error
        status = self.root.stat()
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022:
            raise InvalidInput(
                "the home belongs to another user, or others may write to it",
                subject=str(self.root),
                hint=f"chown it to yourself and `chmod 700 {self.root}`, or set LIVESPAN_HOME to a folder of your own.",
            )
        if not os.access(self.root, os.W_OK) or os.statvfs(self.root).f_flag & os.ST_RDONLY:
            raise Unavailable(
                "the home lies on a read-only file system",
                subject=str(self.root),
                hint="Set LIVESPAN_HOME (or --home) to a folder on a writable disk.",
            )
        return made

    def warning(self) -> str:
        """Return why the home's file system is a poor place for a journal, or "" where it is a good one."""
        kind = file_system(self.root)
        reason = _UNSAFE_FILE_SYSTEMS.get(kind)
        return f"the home {self.root} lies on {kind}: {reason}" if reason else ""


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path` ("ext4", "tmpfs", ...), or "" where it cannot be told."""
    best, kind = "", ""
    target = str(path.resolve())
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        if len(mount) >= len(best) and (target == mount or target.startswith(mount.rstrip("/") + "/")):
            best, kind = mount, fields[2]
    return kind
