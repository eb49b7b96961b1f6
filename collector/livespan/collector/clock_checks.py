"""What `livespan doctor` asks of clocks. Wall time orders nothing in Livespan, yet people read it, and how long an open
node waits for its publication goes by it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from livespan.proto.clock import wall_ns
from livespan.proto.finding import Finding
from livespan.proto.home import Home

__all__ = ["check_clocks", "collector_clock"]

_AHEAD_S: Final = 5.0
_SKEW_S: Final = 2.0
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 256
"""More than any kernel's `struct timex`; all zero, it asks and sets nothing (adjtimex(2))."""


def check_clocks(home: Home) -> Iterator[Finding]:
    """Compare the wall clock with what was written before now: this installation, and the home."""
    now_s = wall_ns() / 1e9
    installed_s = Path(__file__).stat().st_mtime
    told = f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now_s < installed_s - _AHEAD_S:
        yield Finding(
            "clock",
            False,
            f"{told}, which is before Livespan was installed ({datetime.fromtimestamp(installed_s, UTC):%Y-%m-%d})",
            "Set the clock (timedatectl set-ntp true). Nothing is lost by a wrong one, but times are wrong.",
        )
        return
    newest, path = _newest(home)
    if newest - now_s > _AHEAD_S:
        yield Finding(
            "clock",
            None,
            f"{told}; {path} was written {newest - now_s:.0f} s later than that",
            "The clock was set back, or the file system has another one. Times in tables may not be in order.",
        )
    elif _unsynchronised():
        yield Finding("clock", None, f"{told}; the kernel says that nobody keeps it right", "")
    else:
        yield Finding("clock", True, told)


def collector_clock(its_wall_ns: int, before_ns: int, after_ns: int) -> Finding:
    """Compare the collector's wall clock with ours.

    Args:
        its_wall_ns: what it answered.
        before_ns, after_ns: our own wall time when it was asked, and when its answer came.
    """
    early_s, late_s = (its_wall_ns - after_ns) / 1e9, (its_wall_ns - before_ns) / 1e9
    if early_s <= _SKEW_S and late_s >= -_SKEW_S:
        return Finding("collector's clock", True, "agrees with ours")
    off_s = early_s if early_s > 0 else late_s
    word = "ahead of" if off_s > 0 else "behind"
    return Finding(
        "collector's clock",
        None,
        f"is {abs(off_s):.1f} s {word} ours",
        "Let one service (chrony, systemd-timesyncd) keep both right: times of one run are read side by side.",
    )


def _newest(home: Home) -> tuple[float, Path]:
    """Return the newest time of a file in the home, with its path; (0, home) where there is none."""
    newest, path = 0.0, home.root
    for folder in (home.root, home.log, home.lake, home.lake / "nodes", home.spool):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    written_s = entry.stat(follow_symlinks=False).st_mtime
                    if written_s > newest:
                        newest, path = written_s, Path(entry.path)
        except OSError:
            continue
    return newest, path


def _unsynchronised() -> bool:
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return state == _TIME_ERROR
