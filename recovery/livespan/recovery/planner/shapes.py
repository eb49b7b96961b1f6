"""The JSON of a plan: a documented contract. Fields are only added; readers ignore new ones."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Decision", "Plan", "PlannedBranch", "PlannedNode", "RunHold", "no_plan"]


class Decision(StrEnum):
    """What a resumed run does with a node.

    RESTORE: a branch goes on from the state that was taken here, where the program restores. REUSE: answered from the
    record; of a scope: nothing is left to do in it. REDO: run again; of a scope: entered again, and it goes on where
    its record ends. SKIP: an effect that is not run again. IN_DOUBT: an effect that may have happened. CONFLICT: it
    was settled one way, and its own end, which came later, says another.
    """

    RESTORE = "RESTORE"
    REUSE = "REUSE"
    REDO = "REDO"
    SKIP = "SKIP"
    IN_DOUBT = "IN_DOUBT"
    CONFLICT = "CONFLICT"


class RunHold(StrEnum):
    """What a process that wants to hold a run would meet, which its record alone does not say."""

    FREE = "free"
    HELD = "held"
    """A living process runs it now."""
    CANCELLED = "cancelled"
    """It was cancelled: nothing in it may be started."""


class PlannedBranch(msgspec.Struct, frozen=True):
    """One branch of the DAG.

    Attributes:
        scope: its path, "/" for the run itself.
        resume_node_id: the node (hex) of the newest checkpoint that can be read; null where there is none, and the
            branch goes from its top.
        state_bytes: size of that checkpoint's state in bytes, null where there is none.
    """

    scope: str
    resume_node_id: str | None
    state_bytes: int | None


class PlannedNode(msgspec.Struct, frozen=True):
    """One node (a try of a call, or a scope) and what becomes of it; `node_id` is hex."""

    node_id: str
    type: str
    name: str
    decision: Decision
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """The plan of one run.

    Attributes:
        found: something is recorded of the run.
        branches: the run itself first, then in the order of their first record.
        decisions: in the order in which the nodes were started.
        in_doubt, conflicts: the nodes (hex) that somebody must settle before the run can go past them.
        tail_unknown: records of the last life may be missing here.
    """

    run_id: str
    found: bool
    branches: list[PlannedBranch]
    decisions: list[PlannedNode]
    in_doubt: list[str]
    conflicts: list[str]
    tail_unknown: bool


def no_plan(run_id: str) -> Plan:
    """Return the plan of a run of which nothing is recorded."""
    return Plan(run_id, False, [], [], [], [], False)
