"""What a test puts in the place of the world around a collector: its clock, its disk, and what is told of each step."""

from __future__ import annotations

from dataclasses import dataclass, field

from livespan.collector.context import Protections
from livespan.collector.disk import Disk, SystemDisk
from livespan.collector.log import LogProtections
from livespan.collector.log.protocol import Faults, no_faults
from livespan.proto.clock import Clock, SystemClock

__all__ = ["Seams"]


@dataclass(frozen=True, slots=True)
class Seams:
    """The seams of one collector; without a test, the system's own.

    Attributes:
        faults: told of each step.
        protections, log_protections: `make mutants` takes one away to see a test fail.
    """

    clock: Clock = field(default_factory=SystemClock)
    disk: Disk = field(default_factory=SystemDisk)
    faults: Faults = no_faults
    protections: Protections = field(default_factory=Protections)
    log_protections: LogProtections = field(default_factory=LogProtections)
