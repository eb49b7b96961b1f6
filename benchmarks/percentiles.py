"""Percentiles of samples: the nearest rank, so that each is a value that was seen."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["percentile", "spread"]


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which `share` (0 to 1) of them lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(samples: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Return p50, p90, p99 and the number of samples, each multiplied by `scale`."""
    return {
        "p50": percentile(samples, 0.5) * scale,
        "p90": percentile(samples, 0.9) * scale,
        "p99": percentile(samples, 0.99) * scale,
        "n": float(len(samples)),
    }
