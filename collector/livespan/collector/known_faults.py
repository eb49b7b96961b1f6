"""What a living collector knows to be wrong, for who asks how it is: damaged places that it met, and work that fails.

It knows of damage that it came across: at start, in a query, on the way to a publication. `livespan verify` reads all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    # The doctor reads what is told with this module, where duckdb need not be installed.
    from livespan.collector.lake.publisher import Publisher
    from livespan.collector.log import FileLog

__all__ = ["KnownFault", "KnownFaults"]

_VERIFY: Final = "`livespan verify` reads the whole home, says what is lost, and what to do."
_PUBLISHING: Final = "Nothing is lost: the log has it. Look at the lake's disk and at who owns its folder."
_FORWARDING: Final = "Nothing waits for the backend. Look at its address and whether it answers."


class KnownFault(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        where: the part: log, lake, publication, forwarding.
        what: what was seen, one line; of damage with file and offset.
        hint: what to do.
    """

    where: str
    what: str
    hint: str


class KnownFaults:
    """Asks those who would know. Thread-safe.

    Args:
        log, publisher: of the collector.
        is_forwarding_failing: whether the user's own backend takes nothing now.
    """

    def __init__(self, log: FileLog, publisher: Publisher, is_forwarding_failing: Callable[[], bool]) -> None:
        self._log = log
        self._publisher = publisher
        self._is_forwarding_failing = is_forwarding_failing

    def now(self) -> Iterator[KnownFault]:
        """Yield what is wrong now."""
        for damage in self._log.damages:
            yield KnownFault("log", str(damage), _VERIFY)
        for path in self._publisher.damaged_files():
            yield KnownFault("lake", f"{path}@0: it is not as it was published", _VERIFY)
        counts = self._publisher.counts
        if counts.failures_in_a_row:
            first_line = counts.failure.partition("\n")[0]
            what = f"it has failed {counts.failures_in_a_row} times in a row: {first_line}"
            yield KnownFault("publication", what, _PUBLISHING)
        if self._is_forwarding_failing():
            yield KnownFault("forwarding", "the backend takes nothing now", _FORWARDING)
