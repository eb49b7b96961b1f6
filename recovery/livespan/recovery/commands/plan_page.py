"""A plan as people read it: how the run stands, its branches, the tree of its nodes with what becomes of each, and
what somebody must settle.

NODE                                    WILL      WHY
order-17                                RESTORE   The run was interrupted in attempt 1 ...
├─ PROMPT think                         REUSE     Its recorded result answers: it is not run, or paid for, again.
└─ TOOL charge_card  3f2a91c0d4e5f607   IN_DOUBT  It was started and never heard of again ...
"""

from __future__ import annotations

import textwrap
from typing import Final

import click
import msgspec

from livespan.collector.query.shapes import ShownNode, ShownRun
from livespan.collector.render import (
    Cell,
    Column,
    on_terminal,
    print_table,
    printable,
    styled,
    terminal_width,
)
from livespan.collector.run_tree import doubt_lines, walk_tree
from livespan.proto.node import RunStatus
from livespan.recovery.planner import Decision, Plan, PlannedNode

__all__ = ["print_plan"]

_STYLES: Final = {
    Decision.RESTORE: "bold green",
    Decision.REUSE: "green",
    Decision.SKIP: "green",
    Decision.REDO: "yellow",
    Decision.IN_DOUBT: "bold red",
    Decision.CONFLICT: "bold red",
}
_TOLD_IN_FULL: Final = frozenset({Decision.RESTORE, Decision.IN_DOUBT, Decision.CONFLICT})
_PIPE_COLUMNS: Final = 100


def print_plan(plan: Plan, shown: ShownRun, flags: str) -> None:
    """Print a plan to stdout.

    Args:
        shown: the same run's nodes, for the tree; one that lacks a node of the plan is a moment older.
        flags: those of the commands that people are to paste.
    """
    decisions = {node.node_id: node for node in plan.decisions}
    counted = [f"{sum(node.decision is kind for node in plan.decisions)} {kind}" for kind in Decision]
    click.echo(styled(printable(plan.run_id), "bold") + "  " + ", ".join(one for one in counted if one[:2] != "0 "))
    if shown.run.status == RunStatus.CANCELLED:
        click.echo("The run was cancelled: nothing of this is done. It is only what its record would answer.")
    if plan.tail_unknown:
        click.echo("What the last life did at its end may be missing here: it was not sent before that life ended.")
    click.echo()
    _print_branches(plan)
    columns = (Column("NODE", elastic=True), Column("WILL"), Column("WHY", elastic=True, wraps=True))
    rows = [_row(node, guides, decisions.pop(node.node_id, None)) for node, guides in walk_tree(shown.nodes)]
    rows += [_bare_row(node) for node in decisions.values()]
    print_table(columns, rows)
    for node in plan.decisions:
        if node.decision in _TOLD_IN_FULL:
            click.echo()
            click.echo(f"{styled(node.decision.value, _STYLES[node.decision])}  {_title(node)}  {node.node_id}")
            columns_free = min(terminal_width(), 120) if on_terminal() else _PIPE_COLUMNS
            click.echo(textwrap.fill(printable(node.reason), columns_free, initial_indent="  ", subsequent_indent="  "))
    for line in _settling(plan, shown, flags):
        click.echo(line)


def _print_branches(plan: Plan) -> None:
    rows = [
        [
            Cell(branch.scope),
            Cell("its top" if branch.resume_node_id is None else branch.resume_node_id),
            Cell("" if branch.state_bytes is None else f"{branch.state_bytes:,} bytes"),
        ]
        for branch in plan.branches
    ]
    print_table((Column("BRANCH", elastic=True), Column("GOES ON FROM"), Column("STATE", right=True)), rows)
    click.echo()


def _row(node: ShownNode, guides: str, decision: PlannedNode | None) -> list[Cell]:
    name = node.tool_name or node.name
    title = name if node.type == "BRANCH" and not node.parent_id else f"{node.type} {name}"
    again = f" (try {node.try_number + 1})" if node.try_number else ""
    if decision is None:
        return [Cell(f"{guides}{title}{again}"), Cell(""), Cell("recorded since this plan was made")]
    return [Cell(f"{guides}{title}{again}"), *_verdict(decision)]


def _bare_row(decision: PlannedNode) -> list[Cell]:
    return [Cell(_title(decision)), *_verdict(decision)]


def _verdict(decision: PlannedNode) -> list[Cell]:
    first = decision.reason.partition(". ")[0].rstrip(".") + "."
    return [Cell(decision.decision.value, _STYLES[decision.decision]), Cell(first, "dim")]


def _title(node: PlannedNode) -> str:
    return printable(f"{node.type} {node.name}")


def _settling(plan: Plan, shown: ShownRun, flags: str) -> list[str]:
    """Return how to settle what is in doubt; a span of somebody else's has no call that could be settled."""
    doubtful = set(plan.in_doubt)
    nodes = [
        msgspec.structs.replace(node, in_doubt=bool(node.call_key) and node.node_id in doubtful) for node in shown.nodes
    ]
    lines = doubt_lines(ShownRun(shown.run, nodes), flags)
    return ["", *lines] if lines else []
