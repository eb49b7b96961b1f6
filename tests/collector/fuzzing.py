"""Hypothesis by the clock: round after round of new examples until the seconds are over.

`LIVESPAN_FUZZ_SEED` says where the rounds begin; unless it is set, each run begins elsewhere, and prints where. What
fails is shrunk, printed, kept in `.hypothesis`, and tried first by the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from typing import Final

from hypothesis import HealthCheck, seed, settings

__all__ = ["fuzz"]

_SUPPRESSED: Final = (
    # A request is large on purpose, and its examples share a collector: how long one takes says nothing of the test.
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
)


def fuzz(test: Callable[[], None], seconds: float, *, round_size: int = 50) -> None:
    """Play a function that Hypothesis gives its arguments for so long, at least one round of so many examples."""
    first = int(os.environ.get("LIVESPAN_FUZZ_SEED", time.time_ns() % 1_000_000_000))
    print(f"LIVESPAN_FUZZ_SEED={first}")
    until = time.monotonic() + seconds
    bounded = settings(
        max_examples=round_size,
        deadline=None,
        suppress_health_check=_SUPPRESSED,
        report_multiple_bugs=False,
        print_blob=True,
    )(test)
    for number in count(first):
        seed(number)(bounded)()
        if time.monotonic() > until:
            print(f"{(number - first + 1) * round_size} examples")
            return
