"""The drain as a process: started detached by the first agent that needs it, one per home, gone when there is nothing
to drain.

    python -m livespan.instrumentation.drain_process --home DIR

An agent makes its writer first and looks at the lock second; a drain that leaves gives up the lock first and looks
for writers second. So one of them sees the other, and no writer is left without a drain.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.drain import Drain, Pause, no_pause
from livespan.proto.access import access_from
from livespan.proto.home import Home
from livespan.proto.lock_file import is_locked
from livespan.proto.malloc import share_arenas
from livespan.proto.process import start_detached
from livespan.proto.rendezvous import ensure
from livespan.proto.scheduling import take_turns

__all__ = ["drain_is_running", "ensure_drain", "main"]

_LEAVE_AFTER_S: Final = 60.0
_TRY_S: Final = 0.3
_ARENAS: Final = 2
"""Each connection has threads of its own: a drain grew by 3 to 16 MB with some of the collectors that died under it."""


def ensure_drain(home: Home, command: Sequence[str] | None = None) -> None:
    """Start a drain for the home unless one runs.

    Args:
        command: what to start instead of this module; for tests.
    """
    if drain_is_running(home):
        return
    own = [sys.executable, "-m", "livespan.instrumentation.drain_process", "--home", str(home.root)]
    started = start_detached(command or own, home.drain_output)
    started.returncode = 0  # it outlives us; nobody waits for it, and its end is no warning


def drain_is_running(home: Home) -> bool:
    """Return whether some process holds the home's drain lock."""
    return is_locked(home.drain_lock)


def main(arguments: Sequence[str], *, pause: Pause = no_pause) -> int:
    """Run a drain until it has nothing to do; return the exit code."""
    if len(arguments) != 2 or arguments[0] != "--home":
        print("usage: python -m livespan.instrumentation.drain_process --home DIR", file=sys.stderr)
        return 2
    take_turns()
    share_arenas(_ARENAS)
    home = Home(Path(arguments[1]))
    while True:
        lock = _lock(home)
        if lock < 0:
            return 0  # another drains this home
        try:
            drain = Drain(home.spool, _connector(home), leave_after_s=_LEAVE_AFTER_S, pause=pause)
            try:
                drain.run()
            finally:
                drain.close()
        finally:
            os.close(lock)
        last_look = Drain(home.spool, _connector(home))
        try:
            if not last_look.has_writers():
                return 0
        finally:
            last_look.close()


def _lock(home: Home) -> int:
    """Return a descriptor that holds the drain lock, or -1 where another process has it."""
    descriptor = os.open(home.drain_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + _TRY_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(0.01)  # somebody may only be looking, see proto.lock_file
                continue
            os.close(descriptor)
            return -1
        return descriptor


def _connector(home: Home) -> Callable[[str], CollectorClient]:
    access = access_from(os.environ)  # that of the agent which started this process

    def connect(endpoint: str) -> CollectorClient:
        return CollectorClient(endpoint or ensure(home), access)

    return connect


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
