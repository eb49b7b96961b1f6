"""The core beside its model: the same random programs, interleavings, crashes and lost hosts,
the same verdicts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress

import pytest
from tests.instrumentation.core_model import (
    Begun,
    CallError,
    Crash,
    Diverged,
    Doubtful,
    Journal,
    Key,
    Life,
    Model,
    Path,
    ids_of,
)
from tests.instrumentation.core_programs import Op, Play, Setting, World, changed, make, trial

from livespan.instrumentation.core import (
    FAIL,
    Answer,
    Call,
    Core,
    History,
    Live,
    Outcome,
    Recorded,
    Retry,
    RunEnd,
    Scope,
    mark,
    origins,
)
from livespan.proto.errors import Divergence, InDoubt
from livespan.proto.ids import trace_id
from livespan.proto.node import NodeType

TRIALS = 350
"""Per setting; about 2 s for each hundred of all settings."""
TRACE = trace_id("tests", "oracle")
KINDS = {"llm": NodeType.PROMPT, "read": NodeType.MEMORY, "effect": NodeType.TOOL}
RIGHT = {"ok", "ok, ended by its error", "stopped in doubt"}


class Both:
    """The model and the core in one life: asked the same, they must say the same."""

    def __init__(self, journal: Journal, policy: str, lives: dict[tuple[Key, int], Live]) -> None:
        self.model = Model(journal, policy)
        self.lives = lives
        self.values: dict[bytes, int] = {}
        self.policy = FAIL if policy == "fail" else Retry()
        self.core = Core(TRACE, self.history(journal))

    def history(self, journal: Journal) -> History:
        tries: dict[tuple[Key, int], Recorded] = {}
        ends: list[RunEnd] = []
        for order, entry in enumerate(journal.log, 1):
            at = (entry.key, entry.try_number)
            live = self.lives[at]
            scope = live.inside.parent
            assert scope is not None
            if entry.what == "run ended":
                ends.append(RunEnd((live.node_id,), order))
                continue
            before = tries.get(at)
            tries[at] = Recorded(
                key=live.key,
                node_id=live.node_id,
                kind=live.call.kind,
                name=live.call.name,
                scope=scope.path,
                digest=live.call.digest,
                call_id=live.call.call_id,
                try_number=live.try_number,
                effect=live.call.effect,
                outcome=Outcome(entry.what),
                not_done=entry.what == "failed" and entry.key.name.endswith("declined"),
                order=before.order if before is not None else order,
                ended_order=order if entry.what != "started" else 0,
                issued=tuple(ids_of(entry.value)) if entry.what == "succeeded" and entry.key.kind == "llm" else (),
                output=entry.value,
            )
        return History(sorted(tries.values(), key=lambda r: r.order), ends=ends)

    def begin(self, scope: tuple[Path, Scope], kind: str, name: str, argument: Hashable, call_id: str) -> Begun:
        path, real = scope
        call = Call(KINDS[kind], name, repr(argument), kind == "effect", call_id, self.policy)
        try:
            said = self.model.begin(path, kind, name, argument, call_id)
        except Diverged:
            with pytest.raises(Divergence):
                self.core.begin(real, call, 0)
            raise
        except Doubtful:
            with pytest.raises(InDoubt):
                self.core.begin(real, call, 0)
            raise
        got = self.core.begin(real, call, 0)
        if isinstance(got, Answer):
            failed = got.recorded.outcome is Outcome.FAILED
            assert said.what == ("raise" if failed else "answer")
            assert failed or got.recorded.output == said.value
        else:
            assert isinstance(got, Live)
            assert (said.what, said.try_number) == ("live", got.try_number)
            self.lives[said.key, said.try_number] = got
        return said

    def ended(self, begun: Begun, value: int, *, failed: bool) -> None:
        self.model.ended(begun, value, failed=failed)
        live = self.lives[begun.key, begun.try_number]
        if failed:
            error = CallError(begun.key)
            self.core.failed(live, error)
            assert origins(error) == (live.node_id,)
        else:
            self.core.done(live, ids_of(value) if begun.key.kind == "llm" else ())

    def child(self, scope: tuple[Path, Scope], name: str, *, branch: bool) -> tuple[Path, Scope]:
        path, real = scope
        inner = real.branch(name) if branch else self.core.enter(real, name)
        return self.model.child(path, name, branch=branch), inner

    def leave(self, scope: tuple[Path, Scope], *, failed: bool) -> None:
        error = ValueError() if failed else None
        try:
            self.model.leave(scope[0], failed=failed)
        except Diverged:
            with pytest.raises(Divergence):
                self.core.leave(scope[1], error)
            raise
        except Doubtful:
            with pytest.raises(InDoubt):
                self.core.leave(scope[1], error)
            raise
        self.core.leave(scope[1], error)

    def finish(self, error: CallError | None) -> None:
        if error is not None:
            mark(error, TRACE[:8])  # type: ignore[arg-type]  # any node: only its being there counts
        try:
            self.model.finish(error)
        except Diverged:
            with pytest.raises(Divergence):
                self.core.finish(error)
            raise
        except Doubtful:
            with pytest.raises(InDoubt):
                self.core.finish(error)
            raise
        self.core.finish(error)


def trials(
    setting: Setting, first: int, count: int, *, errors: bool = True, share: bool = False, real: bool = True
) -> Counter[str]:
    """Run `count` programs and say how many ended how."""
    ends: Counter[str] = Counter()
    for seed in range(first, first + count):
        lives: dict[tuple[Key, int], Live] = {}

        def new_life(journal: Journal, policy: str, lives: dict[tuple[Key, int], Live] = lives) -> tuple[Life, object]:
            if real:
                both = Both(journal, policy, lives)
                return both, ((), both.core.root)
            return Model(journal, policy, share_branches=share), ()

        end, crashes = trial(seed, setting, new_life, errors=errors)
        ends[end] += 1
        ends["crashes"] += crashes
    return ends


@pytest.mark.parametrize("policy", ["fail", "retry"])
@pytest.mark.parametrize("host_lost", [False, True])
def test_the_core_says_what_the_model_says_and_every_correct_program_comes_out_right(
    policy: str, host_lost: bool
) -> None:
    ends = trials(Setting(policy, host_lost), 0, TRIALS)
    assert ends["crashes"] > TRIALS / 2
    assert ends["ok"] > TRIALS / 4
    assert ends["ok, ended by its error"] > 0
    assert ends.pop("its error stands", 0) < TRIALS / 30
    assert set(ends) <= RIGHT | {"crashes"}


def test_branches_that_share_the_scope_of_their_parent_get_correct_programs_refused() -> None:
    ends = trials(Setting("retry"), 0, 200, errors=False, share=True, real=False)
    assert ends["CORRECT PROGRAM REFUSED"] > 20


def test_without_the_barrier_before_an_effect_a_lost_host_breaks_programs() -> None:
    ends = trials(Setting("retry", host_lost=True, barrier=False), 0, 200, errors=False, real=False)
    assert sum(count for end, count in ends.items() if end not in RIGHT | {"crashes"}) > 10


def test_a_changed_program_stops_before_any_new_effect_of_the_scope_that_changed() -> None:
    ends: Counter[str] = Counter()
    for seed in range(TRIALS):
        rng = random.Random(seed)
        ops: list[Op] = make(rng, errors=False)
        world, journal = World(rng), Journal()
        lives: dict[tuple[Key, int], Live] = {}
        both = Both(journal, "retry", lives)
        with suppress(Crash):
            Play(both, world, rng).through(ops, ((), both.core.root), rng.randint(5, 80))
        before, length = set(world.by_key), len(journal.log)
        both = Both(journal, "retry", lives)
        try:
            Play(both, world, rng).through(changed(rng, ops), ((), both.core.root), None)
        except Diverged as stop:
            ends["stopped"] += 1
            if isinstance(stop.args[0], Key):
                scope = stop.args[0].scope
                held = [e.key for e in journal.log[:length] if e.key.scope == scope]
                fresh = [k for k in world.by_key if k not in before and k.scope == scope]
                # What is new in that scope was in its record, or was asked for by a recorded
                # answer.
                assert all(k in held or k.call_id for k in fresh)
        else:
            ends["all that was recorded was claimed"] += 1
    assert ends["stopped"] > TRIALS / 4
