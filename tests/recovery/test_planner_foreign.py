"""Plans of traces that a stock OpenTelemetry program has sent."""

from __future__ import annotations

import msgspec
from tests.collector.stand import STATE, Writer, node, request
from tests.recovery.test_planner import decisions, planned

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.otlp import Request
from livespan.proto.record import RecordKind
from livespan.recovery.planner import Decision, Plan, PlannedBranch


class Foreign:
    """Spans of a stock OpenTelemetry program, as records in the order in which they come: children before parents."""

    def __init__(self) -> None:
        self.run = RunHistory("shop", "t", 0)
        self._seq = 0

    def span(self, number: int, parent: int = 0, *, failed: bool = False, **attributes: str | bool | bytes) -> None:
        self._seq += 1
        known = {"op": names.OPERATION, "state": names.STATE, "effect": names.EFFECT}
        blank = Request(request(Writer().span(RecordKind.STARTED, node(number)))).records(self._seq)[0]
        self.run.add(
            msgspec.structs.replace(
                blank,
                kind=RecordKind.FOREIGN,
                parent_id=node(parent) if parent else b"",
                name=f"span {number}",
                failed=failed,
                attributes={known[name]: value for name, value in attributes.items()},
            )
        )

    def plan(self) -> Plan:
        return planned(self.run)


def test_a_foreign_trace_has_an_honest_plan() -> None:
    spans = Foreign()
    spans.span(1, 9, op="chat")
    spans.span(2, 9, op="execute_tool")
    spans.span(3, 9, op="execute_tool", failed=True)
    spans.span(4, 9, op="chat", failed=True)
    spans.span(5, 9, op="execute_tool", effect=False, failed=True)
    spans.span(9, failed=True)
    plan = spans.plan()
    assert [decisions(plan)[node(number).hex()] for number in (1, 2, 3, 4, 5, 9)] == [
        Decision.REUSE,
        Decision.SKIP,
        Decision.IN_DOUBT,
        Decision.REDO,
        Decision.REDO,
        Decision.REDO,
    ]
    assert not plan.tail_unknown
    assert plan.branches == [PlannedBranch("/", None, None)]


def test_a_foreign_tool_whose_failure_the_program_went_past_is_not_in_doubt() -> None:
    spans = Foreign()
    spans.span(1, 9, op="execute_tool", failed=True)
    spans.span(9)
    assert decisions(spans.plan())[node(1).hex()] is Decision.SKIP


def test_a_foreign_trace_that_was_cut_off_has_an_unknown_tail() -> None:
    spans = Foreign()
    spans.span(1, 9, op="execute_tool")
    plan = spans.plan()
    assert plan.tail_unknown, "its parent was under way and was never sent"
    assert decisions(plan)[node(1).hex()] is Decision.SKIP


def test_foreign_agents_are_branches_with_their_newest_state() -> None:
    spans = Foreign()
    spans.span(1, 5, op="execute_tool", state=b"s1")
    spans.span(2, 5, op="chat", state=b"s2")
    spans.span(5, 9, op="invoke_agent")
    spans.span(3, 9, op="chat", state=b"s3")
    spans.span(9)
    spans.span(1, 5, op="execute_tool", state=b"s1")  # sent again: it stays as old as it is
    plan = spans.plan()
    agent = f"/span 5:{node(5).hex()}"
    assert plan.branches == [
        PlannedBranch("/", node(3).hex(), len(STATE)),
        PlannedBranch(agent, node(2).hex(), len(STATE)),
    ]
    assert [decisions(plan)[node(number).hex()] for number in (1, 2, 3)] == [
        Decision.SKIP,
        Decision.RESTORE,
        Decision.RESTORE,
    ]
