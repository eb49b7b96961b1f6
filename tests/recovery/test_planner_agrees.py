"""The plan beside the core and its model: on random programs, crashes and lost hosts, what it says is what is done."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.instrumentation.core_model import Journal, Life
from tests.instrumentation.core_programs import Setting, trial
from tests.recovery.planned_lives import Lives, PlannedLife

from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged
from livespan.proto.ids import trace_id
from livespan.proto.record import Record, RecordKind
from livespan.recovery.planner import Decision, RunHold, plan_run

TRIALS = 120
STATE = b"state"


@pytest.mark.parametrize("policy", ["fail", "retry"])
@pytest.mark.parametrize("host_lost", [False, True])
def test_what_the_plan_says_of_a_call_is_what_a_resumed_program_meets(policy: str, host_lost: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(TRIALS):
        lives: Lives = {}

        def new_life(journal: Journal, policy: str, lives: Lives = lives) -> tuple[Life, object]:
            life = PlannedLife(journal, policy, lives, seen)
            return life, ((), life.core.root)

        end, _ = trial(seed, Setting(policy, host_lost), new_life)
        assert end in {"ok", "ok, ended by its error", "stopped in doubt", "its error stands"}
    assert seen["REUSE answer"] > TRIALS
    assert seen["SKIP answer"] > TRIALS
    assert seen["SKIP raise"] > 0
    assert seen["REDO live"] > TRIALS / 5
    assert seen["redone"] > 5
    assert seen["IN_DOUBT doubt" if policy == "fail" else "IN_DOUBT live"] > 5


TEXTS = ["", "/", "/a.0", "/a.0/~b.1", "no scope", "k1", "/k1", "/k1/~c.0", "/k2", "TOOL", "PROMPT", "BRANCH", "done"]


def any_record(rng: random.Random, log_seq: int, trace: bytes) -> Record:
    """Return a record as a broken, foreign or hostile client might send it."""
    node = rng.randrange(1, 12).to_bytes(8, "big")
    kind = rng.choice(list(RecordKind))
    attributes: dict[str, object] = {
        name: rng.choice(TEXTS) for name in rng.sample([names.SCOPE, names.NODE_TYPE, names.SETTLED, names.STATE], 3)
    }
    if rng.random() < 0.7:
        attributes[names.CALL_KEY] = rng.choice(["k1", "k2", "k3", ""])
    if rng.random() < 0.5:
        attributes |= {names.EFFECT: True, names.TRY: rng.choice([0, 1, 2, "no number", -1])}
    if rng.random() < 0.3:
        attributes[names.CHECKPOINT_COUNTERS] = rng.choice(['{"#": 3}', "{torn", "[]"])
    if rng.random() < 0.3:
        attributes[names.OPERATION] = rng.choice(["chat", "execute_tool", "invoke_agent"])
    if kind is RecordKind.ENDED and rng.random() < 0.2:
        attributes[names.ERROR_NODE] = rng.randrange(1, 12).to_bytes(8, "big").hex()
    return Record(
        kind=kind,
        project="p",
        run_id="r",
        generation=0,
        trace_id=trace,
        node_id=node,
        parent_id=rng.choice([b"", rng.randrange(1, 12).to_bytes(8, "big")]),
        name=rng.choice(["", "charge", "\x1b[31m"]),
        started_ns=0,
        ended_ns=0,
        attributes=attributes,  # type: ignore[arg-type]  # built of what records hold
        log_seq=log_seq,
        failed=rng.random() < 0.4,
    )


def test_every_history_has_a_plan_in_which_each_node_stands_once() -> None:
    kinds: Counter[Decision] = Counter()
    for seed in range(1500):
        rng = random.Random(seed)
        run = RunHistory("p", "r", 0)
        records = [any_record(rng, seq, trace_id("p", "r")) for seq in range(1, rng.randint(2, 30))]
        rng.shuffle(records)
        for record in records:
            run.add(record)
        read: list[int] = []

        def content(record: Record, what: str, rng: random.Random = rng, read: list[int] = read) -> bytes:
            assert what == "state"
            read.append(record.log_seq)
            if rng.random() < 0.4:
                raise Damaged("its bytes are not those that were recorded")
            return STATE

        hold = rng.choice(list(RunHold))
        plan = plan_run(run, content, hold, tail_unknown=False)
        ids = [node.node_id for node in plan.decisions]
        journal_ids = {node.hex() for node in run.calls}
        assert journal_ids <= set(ids)
        assert {record.node_id.hex() for record in run.foreign} <= set(ids)
        assert len(ids) == len(set(ids))
        assert plan.in_doubt == [node.node_id for node in plan.decisions if node.decision is Decision.IN_DOUBT]
        assert plan.conflicts == [node.node_id for node in plan.decisions if node.decision is Decision.CONFLICT]
        assert len(read) == len(set(read)), "a state was read twice"
        assert all(node.reason.endswith(".") for node in plan.decisions)
        if hold is RunHold.HELD:
            assert not journal_ids & set(plan.in_doubt)
        kinds.update(node.decision for node in plan.decisions)
    assert set(kinds) == set(Decision)
