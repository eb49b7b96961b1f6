"""What was refused at the collector's door, by reason: counted, and told to the operator now and then."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from livespan.collector.notices import Notices, Seldom
from livespan.proto.errors import Closed, ErrorKind, InvalidInput, LivespanError, Stop

__all__ = ["RefusalReason", "Refusals", "reason_of"]


class RefusalReason(StrEnum):
    """Why a request, or a span of one, was not taken."""

    HOT_TIER_FULL = "hot_tier_full"
    """Until the next publication; the client sends it again."""
    INVALID_REQUEST = "invalid_request"
    INVALID_SPAN = "invalid_span"
    """The request's other spans were taken."""
    LEAVING = "leaving"
    LOG_FAILED = "log_failed"
    NO_ROOM = "no_room"
    """Other requests take the memory that there is for them; the client sends it again."""
    NOT_ADMITTED = "not_admitted"
    """An effect of a process that may start nothing any more."""
    QUEUE_FULL = "queue_full"
    """Too much waits for the disk; the client sends it again."""
    TOO_LARGE = "too_large"
    """Over HTTP; what is too large for gRPC it refuses itself, and nobody hears of it."""
    UNAUTHENTICATED = "unauthenticated"
    """The token is missing or wrong."""


class Refusals:
    """Counts refusals. Thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[RefusalReason] = Counter()
        self._lock = threading.Lock()
        self._seldom = Seldom(Notices("intake"))

    def add(self, reason: RefusalReason, times: int = 1) -> None:
        """Count `times` refusals."""
        with self._lock:
            self._counts[reason] += times
        self._seldom.warning(reason.value, "requests are refused", reason=reason.value)

    def no_room(self) -> None:
        """Count a request that others leave no room for."""
        self.add(RefusalReason.NO_ROOM)

    def unauthenticated(self) -> None:
        """Count a call that does not show the token."""
        self.add(RefusalReason.UNAUTHENTICATED)

    @property
    def requests(self) -> int:
        """How many requests were refused whole."""
        with self._lock:
            return sum(count for reason, count in self._counts.items() if reason is not RefusalReason.INVALID_SPAN)

    def by_reason(self) -> Mapping[str, float]:
        """Return the counts of all reasons, 0 where one never was."""
        with self._lock:
            return {reason.value: float(self._counts[reason]) for reason in RefusalReason}


def reason_of(error: BaseException) -> RefusalReason:
    """Return the reason that an outcome of the committer stands for."""
    if isinstance(error, Stop):
        return RefusalReason.NOT_ADMITTED
    if isinstance(error, Closed):
        return RefusalReason.LEAVING
    if isinstance(error, InvalidInput):
        return RefusalReason.INVALID_REQUEST
    if isinstance(error, LivespanError) and error.kind is ErrorKind.CONFLICT:
        return RefusalReason.NOT_ADMITTED
    return RefusalReason.LOG_FAILED
