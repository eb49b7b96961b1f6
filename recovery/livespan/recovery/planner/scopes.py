"""The branches of a run: the run itself, its tasks, threads, sub-agents and named scopes, each with its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

from livespan.collector.run_history import RunHistory
from livespan.proto.ids import ROOT_SCOPE
from livespan.recovery.planner.tries import Try
from livespan.recovery.planner.verdicts import Verdicts

__all__ = ["branches_of"]


def branches_of(run: RunHistory, tries: Iterable[Try], verdicts: Verdicts) -> list[str]:
    """Return the scopes that a resumed program may enter: the run's first, then in the order of their first records.

    What lies inside a call that is answered is no branch any more: nobody enters it.
    """
    first: dict[str, int] = {ROOT_SCOPE: 0}
    for one in tries:
        first.setdefault(one.scope, one.order)
    for scope, records in run.checkpoints.items():
        first[scope] = min(first.get(scope, records[-1].log_seq), records[-1].log_seq)
    open_to_it = [scope for scope in first if scope == ROOT_SCOPE or verdicts.answered_around(scope) is None]
    return sorted(open_to_it, key=lambda scope: (first[scope], scope))
