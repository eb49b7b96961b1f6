"""What a component tells of itself in numbers: families of samples as Prometheus has them, without its library.

Components offer them by the entry-point group `livespan.measures`, as they offer checks: `measure(home: Home) ->
Iterable[Family]`, asked at each scrape, which reads and never changes anything and is bounded in time. What renders
them is the collector's `metrics/`.

Names begin with `livespan_` and end with their unit (`_bytes`, `_seconds`); a counter's `_total` is added when it is
rendered. Labels have few values, never ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Distribution", "Family", "FamilyKind", "counter", "gauge", "histogram"]


class FamilyKind(StrEnum):
    """What becomes of a number over time: it rises until the process ends, goes either way, or is a distribution."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values were at most each bound.

    Attributes:
        bounds: upper bounds, rising.
        counts: how many values lie in each bucket, not added up; one more than `bounds`, the last for what is above.
        total: the sum of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples by the value of its label.

    Attributes:
        label: the label's name, "" where there is none; then `samples` has the one key "".
    """

    name: str
    kind: FamilyKind
    help: str
    label: str
    samples: Mapping[str, float | Distribution]


def counter(name: str, help_text: str, value: float | Mapping[str, float], label: str = "") -> Family:
    """Return a counter, of one value or of one for each value of a label."""
    return Family(name, FamilyKind.COUNTER, help_text, label, _samples(value))


def gauge(name: str, help_text: str, value: float | Mapping[str, float], label: str = "") -> Family:
    """Return a gauge, of one value or of one for each value of a label."""
    return Family(name, FamilyKind.GAUGE, help_text, label, _samples(value))


def histogram(name: str, help_text: str, value: Distribution) -> Family:
    """Return a histogram."""
    return Family(name, FamilyKind.HISTOGRAM, help_text, "", {"": value})


def _samples(value: float | Mapping[str, float]) -> Mapping[str, float]:
    return value if isinstance(value, Mapping) else {"": value}
