"""A run as people read it: a heading, the tree of its nodes with what became of each, and what to do about doubt.

NODE                                    STATUS       TOOK    TOKENS
order-17                                unfinished
├─ PROMPT think                         success      812 ms  1,204 + 56  RECORDED
└─ TOOL charge_card 3f2a91c0d4e5f607    unfinished                       IN DOUBT
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from livespan.collector.query.shapes import RunDetail, RunSummary, ShownNode, ShownRun
from livespan.collector.render import Cell, Column, count, duration, moment, printable

__all__ = ["COLUMNS", "STATUS_STYLES", "doubt_lines", "heading", "quoted", "run_duration_ms", "tree_rows", "walk_tree"]

COLUMNS: Final = (
    Column("NODE", elastic=True),
    Column("STATUS"),
    Column("TOOK", right=True),
    Column("TOKENS", right=True),
    Column(""),
)
STATUS_STYLES: Final = {
    "running": "cyan",
    "interrupted": "yellow",
    "in_doubt": "bold red",
    "waiting": "cyan",
    "done": "green",
    "failed": "red",
    "cancelled": "yellow",
}
_DEEPEST: Final = 3 * 64
"""Characters of guides; 64 levels."""
_LONGEST: Final = 200
"""Characters of a name in the tree; `-o json` has all of it."""
_NODE_STYLES: Final = {"success": "green", "failed": "red", "running": "cyan", "unfinished": "yellow"}
_MARK_STYLES: Final = {"RECORDED": "green", "RE-EXECUTED": "yellow", "IN DOUBT": "bold red", "CONFLICT": "bold red"}


def heading(run: RunDetail) -> Iterator[str]:
    """Yield the lines above the tree."""
    named = [f"project {run.project}"]
    if run.session:
        named.append(f"session {run.session}")
    if run.user:
        named.append(f"user {run.user}")
    named += [f"{key}={value}" for key, value in sorted(run.tags.items())]
    yield printable("  ".join(named))
    started = moment(run.started_at)
    facts = [f"started {started}"] if started else []
    took = run_duration_ms(run)
    if took is not None:
        facts.append(f"took {duration(took)}")
    if run.attempts:  # spans of other programs tell of no lives
        facts.append(count(run.attempts, "attempt"))
    facts.append(count(run.nodes, "node"))
    if run.effects:
        facts.append(count(run.effects, "effect"))
    if run.input_tokens or run.output_tokens:
        facts.append(f"{count(run.input_tokens)} + {count(run.output_tokens)} tokens")
    yield ", ".join(facts)


def tree_rows(shown: ShownRun) -> list[list[Cell]]:
    """Return the rows of the tree, a node a row, children under their parent in the order of their starts."""
    live = shown.run.status == "running"
    return [_row(node, guides, live and node.attempt == shown.run.attempts) for node, guides in walk_tree(shown.nodes)]


def doubt_lines(shown: ShownRun, flags: str = "") -> list[str]:
    """Return the lines that say how to settle what is in doubt, to be pasted; none where nothing is."""
    doubtful = [node for node in shown.nodes if node.in_doubt]
    if not doubtful:
        return []
    was = "was" if len(doubtful) == 1 else "were"
    lines = [
        f"{count(len(doubtful), 'effect')} {was} started and the outcome is not known. Ask the provider, then say:"
    ]
    for node in doubtful:
        command = " ".join(part for part in ("livespan resolve", flags, quoted(shown.run.run_id), node.node_id) if part)
        key = f", idempotency key {node.idempotency_key}" if node.idempotency_key else ""
        lines += [
            "",
            f"  {printable(node.tool_name or node.name)}, started {moment(node.started_at)}{printable(key)}",
            f'    {command} --done \'{{"the": "outcome"}}\'',
            f"    {command} --not-done",
        ]
    return lines


def run_duration_ms(run: RunSummary) -> float | None:
    """Return how long a run took, None while it has not ended."""
    if not run.started_at or not run.ended_at:
        return None
    return (datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.started_at)).total_seconds() * 1000


def walk_tree(nodes: Sequence[ShownNode]) -> Iterator[tuple[ShownNode, str]]:
    """Yield each node once with the lines that lead to it; a node whose parent is unknown stands at the top.

    No recursion: scopes may be nested deeper than Python's stack. What lies very deep is not drawn deeper still: a
    chain of n nodes would be n² characters. Nodes that only lead to each other come last.
    """
    known = {node.node_id for node in nodes}
    children: dict[str, list[ShownNode]] = {}
    for node in nodes:
        parent = node.parent_id if node.parent_id in known and node.parent_id != node.node_id else ""
        children.setdefault(parent, []).append(node)
    seen: set[str] = set()
    for root in (*children.get("", ()), *nodes):
        stack = [] if root.node_id in seen else [(root, "", "")]
        while stack:
            node, guides, below = stack.pop()
            if node.node_id in seen:
                continue
            seen.add(node.node_id)
            yield node, guides
            under = children.get(node.node_id, [])
            for index, child in enumerate(reversed(under)):
                last = index == 0
                guide = below + ("└─ " if last else "├─ ")
                stack.append((child, guide, below + ("   " if last else "│  ") if len(below) < _DEEPEST else below))


def _row(node: ShownNode, guides: str, live: bool) -> list[Cell]:
    status = node.status.lower()
    if status in {"running", "pending"} and not live:
        status = "unfinished"
    mark = "CONFLICT" if node.conflict else node.reuse
    style = "bold red" if node.in_doubt or node.conflict else ""
    took = duration(node.latency_ms) if status in {"success", "failed"} else ""
    return [
        Cell(guides + _title(node), style),
        Cell(status, _NODE_STYLES.get(status, "")),
        Cell(took),
        Cell(_tokens(node)),
        Cell(_remark(node, mark), _MARK_STYLES.get(mark, "dim")),
    ]


def _title(node: ShownNode) -> str:
    name = node.tool_name or node.name
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + "…"
    title = name if node.type == "BRANCH" and not node.parent_id else f"{node.type} {name}"
    again = f" (try {node.try_number + 1})" if node.try_number else ""
    # Only these are ever typed again, so only these need their id in sight; `-o json` has them all.
    shown_id = f"  {node.node_id}" if node.in_doubt or node.conflict else ""
    return f"{title}{again}{shown_id}"


def _remark(node: ShownNode, mark: str) -> str:
    failure = ""
    if node.error is not None and node.status == "FAILED":
        failure = node.error.type.rpartition(".")[2]
    settled = ""
    if node.settled:
        by = f" ({printable(node.settled_by)})" if node.settled_by else ""
        settled = f"settled: {node.settled.replace('_', ' ')}{by}"
    return "  ".join(part for part in (mark, settled, failure) if part)


def _tokens(node: ShownNode) -> str:
    if node.tokens.input is None and node.tokens.output is None:
        return ""
    return f"{_known(node.tokens.input)} + {_known(node.tokens.output)}"


def quoted(text: str) -> str:
    """Return a word as a shell takes it, on one line whatever it holds."""
    if text.isprintable():
        return shlex.quote(text)
    spelled = "".join(_escaped(letter) for letter in text)
    return f"$'{spelled}'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return "\\" + letter
    return letter if letter.isprintable() else "".join(f"\\x{byte:02x}" for byte in letter.encode())


def _known(number: int | None) -> str:
    return "?" if number is None else count(number)
