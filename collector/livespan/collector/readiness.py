"""When a collector is ready: it is when it would take a request now, and nothing says that it soon will not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from livespan.collector.intake import Intake
from livespan.collector.lake.publisher import Publisher

__all__ = ["Reasons", "reasons_not_ready"]

Reasons: TypeAlias = Sequence[str]

_FAILURES_IN_A_ROW: Final = 3
"""A disk that is busy for a moment may refuse one publication; that is no reason to send clients elsewhere."""


def reasons_not_ready(intake: Intake, publisher: Publisher) -> Reasons:
    """Return why a collector would refuse a request now, or may soon; nothing where it is ready."""
    reasons: list[str] = []
    if intake.closed:
        reasons.append("the collector is leaving")
    if intake.full:
        reasons.append("the hot tier is full until the next publication")
    if publisher.counts.failures_in_a_row >= _FAILURES_IN_A_ROW:
        reasons.append(f"publishing fails: {publisher.counts.failure.splitlines()[0]}")
    return reasons
