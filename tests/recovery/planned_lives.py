"""Random programs that are planned before each of their lives: what the plan says is held against what the life does.

journal ─▶ records ─▶ RunHistory ─▶ plan
    └────▶ the core and its model, resumed ─▶ answered, asked again, in doubt
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from tests.instrumentation.core_model import Begun, CallError, Doubtful, Journal, Key
from tests.instrumentation.test_core_oracle import TRACE, Both

from livespan.collector.run_history import RunHistory
from livespan.instrumentation.core import Live
from livespan.proto import attributes as names
from livespan.proto.ids import ROOT_SCOPE, NodeId, scope_node_id
from livespan.proto.record import Record, RecordKind
from livespan.recovery.planner import Decision, Plan, PlannedNode, RunHold, plan_run

_ANSWERED = {Decision.REUSE, Decision.SKIP}
_KINDS = {"started": RecordKind.STARTED, "succeeded": RecordKind.ENDED, "failed": RecordKind.ENDED}
Lives = dict[tuple[Key, int], Live]


def no_content(record: Record, _what: str) -> bytes:
    raise AssertionError(f"nothing of {record.name} is to be read")


def history_of(journal: Journal, lives: Lives) -> RunHistory:
    """Return what the collector would hold of a journal."""
    run = RunHistory("tests", "oracle", 0)
    for log_seq, entry in enumerate(journal.log, 1):
        live = lives[entry.key, entry.try_number]
        if entry.what == "run ended":
            root = scope_node_id(TRACE, ROOT_SCOPE)
            run.add(_record(RecordKind.ENDED, root, "run", log_seq, {names.ERROR_NODE: live.node_id.hex()}, True))
            continue
        scope = live.inside.parent
        assert scope is not None
        attributes: dict[str, Any] = {
            names.CALL_KEY: live.key,
            names.SCOPE: scope.path,
            names.NODE_TYPE: live.call.kind.value,
            names.EFFECT: live.call.effect,
            names.TRY: live.try_number,
        }
        failed = entry.what == "failed"
        if failed and entry.key.name.endswith("declined"):
            attributes[names.NOT_DONE] = True
        run.add(_record(_KINDS[entry.what], live.node_id, live.call.name, log_seq, attributes, failed))
    return run


def _record(
    kind: RecordKind, node_id: NodeId, name: str, log_seq: int, attributes: dict[str, Any], failed: bool
) -> Record:
    return Record(
        kind=kind,
        project="tests",
        run_id="oracle",
        generation=0,
        trace_id=TRACE,
        node_id=node_id,
        parent_id=b"",
        name=name,
        started_ns=log_seq,
        ended_ns=log_seq,
        attributes=attributes,
        attempt=1,
        writer="w",
        writer_seq=log_seq,
        log_seq=log_seq,
        failed=failed,
    )


class PlannedLife(Both):
    """A life that notes what became of each recorded call that was asked for, and checks it against the plan.

    `seen` counts, over all lives, what was compared.
    """

    def __init__(self, journal: Journal, policy: str, lives: Lives, seen: Counter[str]) -> None:
        super().__init__(journal, policy, lives)
        self.plan: Plan = plan_run(history_of(journal, lives), no_content, RunHold.FREE, tail_unknown=False)
        self.nodes = {node.node_id: node for node in self.plan.decisions}
        self.seen = seen
        keys = {live.node_id.hex(): str(live.key) for live in lives.values()}
        self._by_key = {keys[one.node_id]: one for one in self._speaking()}
        self._asked: set[str] = set()

    def begin(self, scope: Any, kind: str, name: str, argument: Hashable, call_id: str) -> Begun:
        try:
            said = super().begin(scope, kind, name, argument, call_id)
        except Doubtful as doubtful:
            self._note(doubtful.args[0], "doubt")
            raise
        self._note(said.key, said.what)
        return said

    def finish(self, error: CallError | None) -> None:
        super().finish(error)
        if error is None:
            assert self.policy_is_retry or not self.plan.in_doubt, "an effect in doubt was passed in silence"
            for key, node in self._by_key.items():
                if node.decision is Decision.REDO and "need not come to it" not in node.reason:
                    assert key in self._asked, node
                    self.seen["redone"] += 1

    @property
    def policy_is_retry(self) -> bool:
        return self.model.policy == "retry"

    def _speaking(self) -> list[PlannedNode]:
        """Return the plan's nodes that speak for their calls, the run's own left out."""
        return [one for one in self.plan.decisions if one.type != "BRANCH" and "counts instead" not in one.reason]

    def _note(self, key: Key, what: str) -> None:
        live = self.lives.get((key, 0))
        node = self._by_key.get(str(live.key)) if live is not None else None
        if node is None or live is None or str(live.key) in self._asked:
            return  # the record held nothing of it when the plan was made
        self._asked.add(str(live.key))
        self.seen[f"{node.decision} {what}"] += 1
        if what in ("answer", "raise"):
            assert node.decision in _ANSWERED, node
        elif what == "doubt":
            assert node.decision is Decision.IN_DOUBT, node
        else:
            retried = self.policy_is_retry and node.decision is Decision.IN_DOUBT
            assert node.decision is Decision.REDO or retried, node
