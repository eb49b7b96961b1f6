"""A run's records kept in memory, one per try, folded as the recovery service folds them for a
resuming agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from livespan.instrumentation.core import (
    FAIL,
    Answer,
    Call,
    Core,
    History,
    InDoubtPolicy,
    Live,
    Outcome,
    Recorded,
    RunEnd,
    Scope,
    origins,
    says_not_done,
)
from livespan.proto.ids import NodeId, trace_id
from livespan.proto.node import NodeType

TRACE = trace_id("tests", "tape")


@dataclass
class Tape:
    """What lives write down, kept in memory: one record per try, folded as the recovery service
    folds them.
    """

    tries: dict[NodeId, Recorded] = field(default_factory=dict[NodeId, Recorded])
    ends: list[RunEnd] = field(default_factory=list[RunEnd])
    gaps: set[str] = field(default_factory=set[str])
    order: int = 0

    def tick(self) -> int:
        self.order += 1
        return self.order

    def core(self) -> Core:
        tries = sorted(self.tries.values(), key=lambda r: r.order)
        return Core(TRACE, History(tries, ends=self.ends, gaps=self.gaps), run_id="run")

    def started(self, live: Live, *, at_ns: int = 0) -> Live:
        scope = live.inside.parent
        assert scope is not None
        self.tries[live.node_id] = Recorded(
            key=live.key,
            node_id=live.node_id,
            kind=live.call.kind,
            name=live.call.name,
            scope=scope.path,
            digest=live.call.digest,
            call_id=live.call.call_id,
            occurrence=live.occurrence,
            try_number=live.try_number,
            effect=live.call.effect,
            order=self.tick(),
            started_ns=at_ns,
        )
        return live

    def change(self, live: Live, **changes: object) -> None:
        before = self.tries[live.node_id]
        self.tries[live.node_id] = msgspec.structs.replace(before, **changes)

    def done(self, core: Core, live: Live, output: object, *issued: str) -> None:
        self.change(
            live,
            outcome=Outcome.SUCCEEDED,
            output=output,
            issued=issued,
            ended_order=self.tick(),
        )
        core.done(live, issued)

    def failed(
        self,
        core: Core,
        live: Live,
        error: BaseException,
        *,
        outcome: Outcome = Outcome.FAILED,
    ) -> None:
        self.change(live, outcome=outcome, not_done=says_not_done(error), ended_order=self.tick())
        core.failed(live, error)

    def finish(self, core: Core, error: BaseException) -> None:
        core.finish(error)
        self.ends.append(RunEnd(origins(error), self.tick()))

    def run(self, core: Core, scope: Scope, call: Call, output: object = "out", *issued: str) -> object:
        """Make a call, live or answered; return its output."""
        begun = core.begin(scope, call, 0)
        if isinstance(begun, Answer):
            return begun.recorded.output
        assert isinstance(begun, Live)
        self.started(begun)
        self.done(core, begun, output, *issued)
        return output


def prompt(name: str = "think", digest: str = "d") -> Call:
    return Call(NodeType.PROMPT, name, digest)


def effect(name: str = "charge", digest: str = "d", call_id: str = "", in_doubt: InDoubtPolicy = FAIL) -> Call:
    return Call(NodeType.TOOL, name, digest, True, call_id, in_doubt)


def begin_live(core: Core, call: Call, scope: Scope | None = None, now_ns: int = 0) -> Live:
    begun = core.begin(scope or core.root, call, now_ns)
    assert isinstance(begun, Live)
    return begun
