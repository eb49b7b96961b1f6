"""The options of `livespan run` and `livespan recover` that say how patient to be; a command gets them as `limits`."""

from __future__ import annotations

import click

from livespan.collector.options import gathered
from livespan.recovery.supervision.patience import Limits

__all__ = ["limit_options", "limit_words"]

limit_options = gathered(
    "limits",
    Limits,
    max_restarts=click.option(
        "--max-restarts",
        type=click.IntRange(min=0),
        default=10,
        show_default=True,
        help="Restarts without progress in between.",
    ),
    same_place=click.option(
        "--same-place",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Give up when this many lives in a row ended at one place with nothing new recorded.",
    ),
    backoff_s=click.option(
        "--backoff-s",
        type=click.FloatRange(min=0.0),
        default=1.0,
        show_default=True,
        help="Wait before the first restart; each further one waits twice as long.",
    ),
    max_backoff_s=click.option(
        "--max-backoff-s",
        type=click.FloatRange(min=0.0),
        default=60.0,
        show_default=True,
        help="Longest wait before a restart.",
    ),
)


def limit_words(limits: Limits) -> list[str]:
    """Return the options that say the same to another `livespan run`."""
    words = ["--max-restarts", str(limits.max_restarts), "--same-place", str(limits.same_place)]
    return [*words, "--backoff-s", str(limits.backoff_s), "--max-backoff-s", str(limits.max_backoff_s)]
