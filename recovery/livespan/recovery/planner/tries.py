"""The nodes of a run's journal as the planner reads them: each try of a call, and each scope, folded from its
records.
"""

from __future__ import annotations

import msgspec

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE
from livespan.proto.node import NodeType
from livespan.proto.record import Record
from livespan.recovery.opening import conflicts, status

__all__ = ["Try", "tries_of"]


class Try(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        key: its call's key; "" for a scope, which is entered and no call.
        scope: where the call was made; of a scope its own path.
        status: RUNNING, SUCCESS, FAILED or CANCELLED.
        settled: "", "done" or "not_done"; `settled_by` says who settled it.
        retried: it failed and its policy tries it again: the program never saw its error.
        order, ended_order: `log_seq` of its first record and of its end (0 = none).
    """

    node_id: bytes
    key: str
    type: str
    name: str
    scope: str
    status: str
    effect: bool
    number: int
    settled: str
    settled_by: str
    not_done: bool
    unrecordable: bool
    retried: bool
    conflict: bool
    error: str
    order: int
    ended_order: int

    @property
    def is_scope(self) -> bool:
        """Whether it is a scope and no call."""
        return not self.key

    @property
    def answered(self) -> bool:
        """Whether the result of this try is known, so that no other try can be more."""
        return self.status == "SUCCESS"


def tries_of(run: RunHistory) -> list[Try]:
    """Return the nodes of a run, in the order of their first records."""
    found = [_folded(run, newest, started) for newest, started in run.calls.values()]
    return sorted(found, key=lambda one: one.order)


def _folded(run: RunHistory, newest: Record, started: Record | None) -> Try:
    first = started or newest
    how = status(newest)
    return Try(
        node_id=newest.node_id,
        key=first.text(names.CALL_KEY),
        type=first.text(names.NODE_TYPE) or NodeType.BRANCH.value,
        name=first.name,
        scope=first.text(names.SCOPE) or ROOT_SCOPE,
        status=how,
        effect=first.flag(names.EFFECT),
        number=first.number(names.TRY) or 0,
        settled=newest.text(names.SETTLED),
        settled_by=newest.text(names.SETTLED_BY),
        not_done=newest.flag(names.NOT_DONE),
        unrecordable=newest.flag(names.UNRECORDABLE),
        retried=isinstance(newest.attributes.get(names.RETRY_AFTER_S), float),
        conflict=conflicts(run, newest),
        error=newest.text(names.ERROR_TYPE).rpartition(".")[2],
        order=first.log_seq,
        ended_order=0 if how == "RUNNING" else newest.log_seq,
    )
