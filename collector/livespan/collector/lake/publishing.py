"""What a publisher is given beside its parts: what may be tuned, whom it asks, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from livespan.collector.disk import Disk, SystemDisk
from livespan.collector.log.protocol import Faults, no_faults
from livespan.collector.metrics.buckets import PUBLICATION_S, Buckets
from livespan.proto.clock import Clock, SystemClock

__all__ = ["PublisherCounts", "Publishing"]


def _nothing_to_recycle(_below: int) -> None:
    pass


def _nobody_holds(_trace: bytes) -> bool:
    return False


def _not_crowded() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Publishing:
    """Settings and seams of one publisher.

    Attributes:
        publish_s: the thread publishes at least this often.
        open_after_s: an open node older than this is published as it is.
        held: whether some process may start things in the run of a trace id.
        crowded: whether the log is so long that open nodes may pin it no more, and are published as they are.
        recycle: called after a publication with the `log_seq` below which the log is needed no more.
        clock: wall time, for the age of open nodes.
        faults: told of each step; a seam for tests.
    """

    publish_s: float = 2.0
    open_after_s: float = 60.0
    held: Callable[[bytes], bool] = _nobody_holds
    crowded: Callable[[], bool] = _not_crowded
    recycle: Callable[[int], object] = _nothing_to_recycle
    clock: Clock = field(default_factory=SystemClock)
    disk: Disk = field(default_factory=SystemDisk)
    faults: Faults = no_faults


@dataclass(slots=True)
class PublisherCounts:
    """What was published, for status and metrics. `failure` is what the last publication failed with, "" where it did
    not; `took`, the seconds that each took.
    """

    publications: int = 0
    records: int = 0
    content_rows: int = 0
    unreadable_frames: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    failure: str = ""
    took: Buckets = field(default_factory=lambda: Buckets(PUBLICATION_S))
