"""Puts a plan together: decisions on all nodes, the checkpoint of each branch, and how the run as a whole stands."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from livespan.collector.run_history import RunHistory
from livespan.proto.ids import ROOT_SCOPE, TraceId, scope_node_id
from livespan.proto.node import NodeType
from livespan.proto.record import Record
from livespan.recovery.checkpoints import Chosen, Content, newest_valid
from livespan.recovery.planner.decisions import decide_call, decide_scope
from livespan.recovery.planner.foreign import ForeignSpans
from livespan.recovery.planner.scopes import branches_of
from livespan.recovery.planner.shapes import Decision, Plan, PlannedBranch, PlannedNode, RunHold
from livespan.recovery.planner.tries import Try, tries_of
from livespan.recovery.planner.verdicts import Verdicts

__all__ = ["plan_run"]

_NOT_RUN = frozenset({Decision.REUSE, Decision.SKIP})


def plan_run(run: RunHistory, content: Content, hold: RunHold, *, tail_unknown: bool) -> Plan:
    """Return the plan of a run.

    Args:
        run: what is recorded of it.
        content: reads the states of the chosen checkpoints, and of those passed over; nothing else is read.
        hold: who holds it, as the leases know.
        tail_unknown: the last life ended without a word and its spool was not seen.
    """
    branches: list[PlannedBranch] = []
    decisions: list[PlannedNode] = []
    if run.calls or run.attempts or run.last_lease is not None or not run.foreign:
        branches, decisions = _journal(run, content, hold)
    if run.foreign:
        foreign = ForeignSpans(run.foreign, content)
        known = {node.node_id for node in decisions}
        decisions += [node for node in foreign.decisions() if node.node_id not in known]
        if not branches:
            branches = foreign.branches()
            tail_unknown = tail_unknown or foreign.cut_off
    return Plan(
        run_id=run.run_id,
        found=True,
        branches=branches,
        decisions=decisions,
        in_doubt=[node.node_id for node in decisions if node.decision is Decision.IN_DOUBT],
        conflicts=[node.node_id for node in decisions if node.decision is Decision.CONFLICT],
        tail_unknown=tail_unknown,
    )


def _journal(run: RunHistory, content: Content, hold: RunHold) -> tuple[list[PlannedBranch], list[PlannedNode]]:
    tries = tries_of(run)
    verdicts = Verdicts(tries, run.root_ends)
    decisions: dict[str, PlannedNode] = {}
    for one in _with_root(run, tries):
        if one.is_scope:
            decisions[one.node_id.hex()] = decide_scope(one, verdicts, gap=one.scope in run.gaps)
        else:
            decisions[one.node_id.hex()] = decide_call(one, verdicts, hold)
    branches: list[PlannedBranch] = []
    checkpoints = run.checkpoints
    for scope in branches_of(run, tries, verdicts):
        chosen = newest_valid(checkpoints.get(scope, ()), content)
        record = chosen.record
        branches.append(
            PlannedBranch(
                scope,
                record.node_id.hex() if record is not None else None,
                len(chosen.state) if record is not None else None,
            )
        )
        _note_checkpoint(run, scope, chosen, decisions)
    root = scope_node_id(TraceId(run.trace_id), ROOT_SCOPE).hex()
    _change(decisions, root, reason=f"{_hold(run, hold)} {decisions[root].reason}")
    return branches, list(decisions.values())


def _with_root(run: RunHistory, tries: Iterable[Try]) -> Iterable[Try]:
    """Return the nodes, the run's own among them even where its record has not arrived."""
    root = scope_node_id(TraceId(run.trace_id), ROOT_SCOPE)
    if root in run.calls:
        return tries
    return [_unrecorded_scope(root, run.run_id, ROOT_SCOPE), *tries]


def _unrecorded_scope(node_id: bytes, name: str, scope: str) -> Try:
    return Try(
        node_id=node_id,
        key="",
        type=NodeType.BRANCH.value,
        name=name,
        scope=scope,
        status="RUNNING",
        effect=False,
        number=0,
        settled="",
        settled_by="",
        not_done=False,
        unrecordable=False,
        retried=False,
        conflict=False,
        error="",
        order=0,
        ended_order=0,
    )


def _note_checkpoint(run: RunHistory, scope: str, chosen: Chosen, decisions: dict[str, PlannedNode]) -> None:
    """Say at its node which checkpoint a branch goes on from, and which were passed over."""
    damage = "".join(f" Passed over: {passed_over}." for passed_over in chosen.passed_over)
    if chosen.record is None:
        if damage:
            trace = TraceId(run.trace_id)
            own, root = (scope_node_id(trace, each).hex() for each in (scope, ROOT_SCOPE))
            node = own if own in decisions else root
            said = f"No checkpoint of branch {scope} can be read: it goes from its top.{damage}"
            _change(decisions, node, reason=f"{decisions[node].reason} {said}")
        return
    node = chosen.record.node_id.hex()
    if node not in decisions:
        decisions[node] = _unrecorded(chosen.record, scope)
    known = decisions[node]
    decision = known.decision
    if decision in _NOT_RUN or known.type == NodeType.BRANCH.value:
        decision = Decision.RESTORE
    reason = (
        f"The newest state of branch {scope}, {len(chosen.state):,} bytes, was taken here. A program that restores it "
        f"goes on from there; one that does not goes from its top, and what is recorded answers.{damage} {known.reason}"
    )
    _change(decisions, node, decision=decision, reason=reason)


def _unrecorded(record: Record, scope: str) -> PlannedNode:
    return PlannedNode(
        record.node_id.hex(), NodeType.BRANCH.value, scope, Decision.REDO, "Of this node nothing else is recorded."
    )


def _hold(run: RunHistory, hold: RunHold) -> str:
    if hold is RunHold.HELD:
        return (
            f"Attempt {run.last_attempt} of the run is under way in a living process, so there is nothing to resume "
            "now; this is what would be done if it died at this moment."
        )
    if run.finished:
        return "The run is finished: a program that opens it again is answered from the record and starts no effect."
    if hold is RunHold.CANCELLED:
        return "The run was cancelled: it is not resumed, and this is only what its record would answer."
    if run.root_ends and run.root_ends[-1].attempt == run.last_attempt:
        return f"Attempt {run.last_attempt} of the run ended by an error: the same program under its run id resumes it."
    return f"The run was interrupted in attempt {run.last_attempt}: the same program under the same run id resumes it."


def _change(decisions: dict[str, PlannedNode], node: str, **changes: object) -> None:
    decisions[node] = msgspec.structs.replace(decisions[node], **changes)
