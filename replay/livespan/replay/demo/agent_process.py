"""The frame around an agent of the demo: read the job, apply the sabotage, work, report how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias
from unittest.mock import patch

import msgspec

from livespan.instrumentation.client import CollectorClient
from livespan.proto import errors
from livespan.proto.errors import EXIT_CODES, LivespanError, RunStopped
from livespan.proto.v1.livespan_pb2 import RunRef
from livespan.replay.demo.job import Job, Outcome
from livespan.replay.demo.points import Point, Points
from livespan.replay.demo.sabotage import sabotaged

__all__ = ["OUTCOME", "Work", "run_agent"]

OUTCOME = "outcome.json"
Work: TypeAlias = Callable[[Job, Points], Outcome]


def run_agent(work: Work) -> int:
    """Run one life of an agent as this process says; return its exit code, as `livespan` has them."""
    job = Job.from_arguments(sys.argv[1:])
    points = Points(job.folder, job.hold_at)
    code = 0
    with sabotaged(job.sabotage), _held_before_permission(points):
        try:
            outcome = work(job, points)
        except LivespanError as error:
            cause = error.cause if isinstance(error, RunStopped) else error
            name = _public_name(cause)
            outcome = Outcome(stopped=name, message=error.message, subject=error.subject, hint=error.hint)
            code = EXIT_CODES[error.kind]
            print(f"{name}: {error}", file=sys.stderr)
    draft = job.folder / (OUTCOME + ".new")
    draft.write_bytes(msgspec.json.encode(outcome))
    draft.replace(job.folder / OUTCOME)
    return code


def _public_name(error: BaseException) -> str:
    """Return the name under which errors.py knows an error."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


@contextmanager
def _held_before_permission(points: Points) -> Generator[None]:
    """Put a point between an effect's own look at the lease and its question to the collector.

    No program has code there; yet it is where a process that the scheduler, a debugger or a paused virtual machine
    holds up does the worst that it can: it has made sure that it may go on, and goes on an hour later.
    """
    intend = CollectorClient.intend

    def held(self: CollectorClient, run: RunRef, epoch: int, export: bytes, timeout_s: float) -> int:
        points.reach(Point.PERMISSION)
        return intend(self, run, epoch, export, timeout_s)

    with patch.object(CollectorClient, "intend", held):
        yield
