"""Notices: what the collector tells its operator, a line for each event, as text for people or as JSON for machines.

    2026-11-23T04:40:00.123Z warning publisher: publication failed error="no space left" records=120
    {"time":"2026-11-23T04:40:00.123Z","level":"warning","component":"publisher","event":"publication failed",...}

They go through the standard `logging`, below the logger `livespan`, so that a program that embeds a collector may do
with them what it likes. What happens per record makes no notice, and what may happen per request only a seldom one.
Where the lines go is notice_output.py's.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final, TypeAlias

__all__ = ["FACTS", "LOGGER", "Fact", "Notices", "Seldom"]

Fact: TypeAlias = str | int | float | bool | None
LOGGER: Final = "livespan"
FACTS: Final = "livespan_facts"
"""Attribute of a log record that holds a notice's facts."""
_PAUSE_S: Final = 10.0


class Notices:
    """The notices of one component. An event is a few words that never change; what varies goes into its facts."""

    __slots__ = ("_logger",)

    def __init__(self, component: str) -> None:
        self._logger = logging.getLogger(f"{LOGGER}.{component}")

    def debug(self, event: str, **facts: Fact) -> None:
        """Tell what only somebody who looks for a fault wants to know."""
        self._tell(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: Fact) -> None:
        """Tell what belongs to ordinary life."""
        self._tell(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Fact) -> None:
        """Tell what an operator should look at, although nothing is lost."""
        self._tell(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Fact) -> None:
        """Tell what somebody must mend."""
        self._tell(logging.ERROR, event, facts)

    def _tell(self, level: int, event: str, facts: dict[str, Fact]) -> None:
        self._logger.log(level, event, extra={FACTS: facts})


class Seldom:
    """Notices of what may happen very often: of each key at most one in `pause_s`, which says how many there were.

    Keys are few and fixed. Thread-safe.
    """

    __slots__ = ("_last_s", "_lock", "_notices", "_pause_s", "_untold")

    def __init__(self, notices: Notices, pause_s: float = _PAUSE_S) -> None:
        self._notices = notices
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._last_s: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def warning(self, key: str, event: str, **facts: Fact) -> None:
        """Tell, unless the same key was told a moment ago; `times` counts this one and those that were not told."""
        now_s = time.monotonic()
        with self._lock:
            times = self._untold.get(key, 0) + 1
            last_s = self._last_s.get(key)
            if last_s is not None and now_s - last_s < self._pause_s:
                self._untold[key] = times
                return
            self._last_s[key] = now_s
            self._untold[key] = 0
        self._notices.warning(event, **facts, times=times)
