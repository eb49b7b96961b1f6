"""What the service gives the planner: the record of a run, and what only a living collector knows of it."""

from __future__ import annotations

from livespan.collector.context import Context
from livespan.collector.run_history import RunHistory
from livespan.proto.home import Home
from livespan.proto.v1.livespan_pb2 import RunRef
from livespan.recovery.leases import Leases
from livespan.recovery.planner import Plan, RunHold, no_plan, plan_run
from livespan.recovery.tail import tail_unknown

__all__ = ["planned"]


def planned(context: Context, leases: Leases, ref: RunRef) -> Plan:
    """Return the plan of a run as the collector knows it now; of its newest generation where none is named.

    Raises:
        Damaged: what is published of the run cannot be read.
    """
    run = context.history.run(ref.project, ref.run_id, ref.generation or None)
    if run is None:
        return no_plan(ref.run_id)
    held = leases.held(run.trace_id)
    # A program that is started in this home sends what its dead writers left before it reads the record.
    unseen = not held and tail_unknown(run, _spool_id(context.home))
    return plan_run(run, context.history.content, _hold(run, held=held), tail_unknown=unseen)


def _hold(run: RunHistory, *, held: bool) -> RunHold:
    if held:
        return RunHold.HELD
    return RunHold.FREE if run.cancelled is None else RunHold.CANCELLED


def _spool_id(home: Home) -> str:
    """Return the id of the home's own spool; "" where no program has written there yet."""
    try:
        return (home.spool / "id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
