"""Which runs stopped before their end and are held by nobody, and how the newest life of each was started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from livespan.collector.query.runs import Listing
from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged
from livespan.proto.node import RunStatus
from livespan.proto.record import Record
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery.lease_record import stop_of

__all__ = ["interrupted_runs"]

_STOPPED: Final = frozenset({RunStatus.INTERRUPTED, RunStatus.IN_DOUBT, RunStatus.FAILED})


def interrupted_runs(
    list_runs: Callable[[], Listing], history: Callable[[str, str], RunHistory | None]
) -> pb.InterruptedReply:
    """Return the runs that somebody may want to start again, oldest first, and the damaged files that may hold others.

    A run that came as foreign spans alone has no life that could be started, and is left out.
    """
    found: list[pb.InterruptedRun] = []
    listing = list_runs()
    damaged = dict.fromkeys(map(str, listing.left_out))
    for listed in listing.runs:
        if listed.status not in _STOPPED:
            continue
        try:
            run = history(listed.project, listed.run_id)
        except Damaged as error:
            damaged[error.subject] = None
            continue
        if run is None or not run.attempts:
            continue
        found.append(
            pb.InterruptedRun(
                run=pb.RunRef(project=run.project, run_id=run.run_id, generation=run.generation),
                attempt=_attempt(run.attempts[-1]),
                status=listed.status,
                attempts=run.last_attempt,
                stopped=stop_of(run.last_lease),
            )
        )
    return pb.InterruptedReply(runs=found[::-1], damaged=damaged)


def _attempt(record: Record) -> pb.Attempt:
    return pb.Attempt(
        argv=_listed(record.text(names.ARGV)),
        cwd=record.text(names.CWD),
        environment=_listed(record.text(names.ENVIRONMENT)),
        fingerprint=record.text(names.FINGERPRINT),
        session=record.session,
        tags=record.tags,
    )


def _listed(text: str) -> list[str]:
    """Return a recorded JSON list of words; one that another client wrote otherwise is none."""
    try:
        return msgspec.json.decode(text, type=list[str]) if text else []
    except msgspec.DecodeError:
        return []
