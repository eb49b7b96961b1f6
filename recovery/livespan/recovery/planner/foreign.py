"""Spans of others in a plan: a stock OpenTelemetry program, which nobody can answer from the record by itself.

A span comes when it ends. So what was under way when its process died is not there at all: only its children may be,
and a parent that is missing is all that tells of it. What is said here is what a person, or a program that reads the
record, may rely on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE
from livespan.proto.node import NodeType
from livespan.proto.record import Record
from livespan.recovery.checkpoints import Chosen, Content, newest_valid
from livespan.recovery.planner.shapes import Decision, PlannedBranch, PlannedNode

__all__ = ["ForeignSpans"]

_PROMPTS = frozenset({"chat", "generate_content", "text_completion"})
_TOOLS = frozenset({"execute_tool"})
_AGENTS = frozenset({"invoke_agent", "create_agent"})


@dataclass(frozen=True, slots=True)
class _Span:
    """One span: its newest record, and the `log_seq` of its first, which a span that is sent again does not change."""

    record: Record
    order: int

    @property
    def type(self) -> str:
        said = self.record.text(names.NODE_TYPE)
        operation = self.record.text(names.OPERATION)
        if said in NodeType.__members__:
            return said
        if operation in _PROMPTS:
            return NodeType.PROMPT.value
        return (NodeType.TOOL if operation in _TOOLS else NodeType.BRANCH).value

    @property
    def is_effect(self) -> bool:
        """A tool is one unless its span says that it is none."""
        return self.type == NodeType.TOOL.value and self.record.attributes.get(names.EFFECT) is not False


class ForeignSpans:
    """The foreign spans of one run.

    Args:
        records: in log order; of a span that came more than once the newest counts.
        content: reads states.
    """

    def __init__(self, records: Sequence[Record], content: Content) -> None:
        spans: dict[bytes, _Span] = {}
        states: dict[bytes, Record] = {}
        for record in records:
            known = spans.get(record.node_id)
            spans[record.node_id] = _Span(record, known.order if known is not None else record.log_seq)
            if names.STATE in record.attributes:
                states[record.node_id] = record
        self._spans = spans
        by_branch: dict[str, list[Record]] = {ROOT_SCOPE: []} if spans else {}
        for span in spans.values():
            branch = by_branch.setdefault(self._branch(span.record), [])
            if span.record.node_id in states:
                branch.append(states[span.record.node_id])
        self._chosen: dict[str, Chosen] = {}
        for path, found in by_branch.items():
            newest_first = sorted(found, key=lambda record: spans[record.node_id].order, reverse=True)
            self._chosen[path] = newest_valid(newest_first, content)

    @property
    def cut_off(self) -> bool:
        """Whether a span's parent never came: it may have been under way when its process died."""
        return any(span.record.parent_id and span.record.parent_id not in self._spans for span in self._spans.values())

    def branches(self) -> list[PlannedBranch]:
        """Return the trace itself, and each agent in it, with its newest state."""
        return [
            PlannedBranch(
                branch,
                chosen.record.node_id.hex() if chosen.record is not None else None,
                len(chosen.state) if chosen.record is not None else None,
            )
            for branch, chosen in self._chosen.items()
        ]

    def decisions(self) -> list[PlannedNode]:
        """Return the decision on each span, in the order in which they came first."""
        return [self._decide(span) for span in self._spans.values()]

    def _decide(self, span: _Span) -> PlannedNode:
        record = span.record
        decision, reason = self._plain(span)
        for branch, chosen in self._chosen.items():
            if chosen.record is not None and chosen.record.node_id == record.node_id:
                if decision in (Decision.REUSE, Decision.SKIP):
                    decision = Decision.RESTORE
                reason = f"The newest state of branch {branch}, {len(chosen.state):,} bytes, came with it. {reason}"
                reason += "".join(f" Passed over: {passed_over}." for passed_over in chosen.passed_over)
        return PlannedNode(record.node_id.hex(), span.type, record.name, decision, reason)

    def _plain(self, span: _Span) -> tuple[Decision, str]:
        failed = span.record.failed
        if span.type == NodeType.BRANCH.value:
            if failed:
                return Decision.REDO, "It ended by an error. Its program was not recorded by Livespan: start it again."
            return Decision.REUSE, "It ended well."
        if span.is_effect:
            if not failed:
                return Decision.SKIP, "The tool ended well, and nothing says that it only reads: do not run it again."
            if self._ended_well_around(span.record):
                return Decision.SKIP, "The tool failed and the program went on past it: do not run it again."
            return Decision.IN_DOUBT, (
                "The tool failed, and so did what called it; its effect may have happened. Look it up at the provider."
            )
        if failed:
            return Decision.REDO, "It failed, and it changes nothing in the world: run it again."
        return Decision.REUSE, "It ended well: what its span holds of the answer can be used instead of asking again."

    def _ended_well_around(self, record: Record) -> bool:
        """Return whether the span that this one lies in was recorded, and ended well."""
        parent = self._spans.get(record.parent_id)
        return parent is not None and parent is not self._spans.get(record.node_id) and not parent.record.failed

    def _branch(self, record: Record) -> str:
        """Return the path of the agents that a span lies in."""
        path: list[str] = []
        seen: set[bytes] = set()
        at: _Span | None = self._spans.get(record.node_id)
        while at is not None and at.record.node_id not in seen:
            seen.add(at.record.node_id)
            if at.record.text(names.OPERATION) in _AGENTS and at.record.parent_id in self._spans:
                path.append(f"{at.record.name}:{at.record.node_id.hex()}")
            at = self._spans.get(at.record.parent_id)
        return ROOT_SCOPE + "/".join(reversed(path))
