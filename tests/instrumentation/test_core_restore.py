"""Going on from a state, life after life: what is restored past is never made again, and what is not, once."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from tests.instrumentation.core_tape import Tape, effect, prompt

from livespan.instrumentation.core import Answer, Core, Live, Retry, Scope


class Killed(BaseException):
    """Where the process would be gone."""


@dataclass
class Program:
    """A sequence of calls, checkpoints and scopes, run in lives that may be killed at any event.

    Steps: ("call", digest) an effect, ("read", digest), ("keep",) a checkpoint of the root, ("scope", n) n effects in a
    named scope. Equal digests are equal calls.
    """

    steps: list[tuple[str, int]]
    tape: Tape = field(default_factory=Tape)
    kept: list[tuple[int, dict[str, int], int]] = field(default_factory=list[tuple[int, dict[str, int], int]])
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    events_left: int | None = None

    def life(self, killed_after: int | None, *, restores: bool) -> bool:
        """Run once; return whether it came to its end."""
        self.events_left = killed_after
        core = self.tape.core()
        first = 0
        if restores and self.kept:
            order, place, first = self.kept[-1]
            core.restore(core.root, order, place)
        try:
            for index in range(first, len(self.steps)):
                self._step(core, index)
        except Killed:
            return False
        core.finish()
        return True

    def _step(self, core: Core, index: int) -> None:
        what, number = self.steps[index]
        if what == "keep":
            self._event()
            self.kept.append((self.tape.tick(), core.root.place(), index + 1))
        elif what == "scope":
            scope = core.enter(core.root, "s")
            for inner in range(number):
                self._call(core, scope, f"{index}.{inner}", "inner", effectful=True)
            core.leave(scope)
        else:
            self._call(core, core.root, str(index), f"d{number}", effectful=what == "call")

    def _call(self, core: Core, scope: Scope, label: str, digest: str, *, effectful: bool) -> None:
        call = effect(digest=digest, in_doubt=Retry(1e9)) if effectful else prompt(digest=digest)
        begun = core.begin(scope, call, 0)
        if isinstance(begun, Answer):
            assert begun.recorded.output == label, "the answer is another call's"
            return
        assert isinstance(begun, Live)
        self._event()
        self.tape.started(begun)
        self.keys[label].add(begun.key)
        self._event()
        self.done[label] += 1
        self.tape.done(core, begun, label)

    def _event(self) -> None:
        if self.events_left == 0:
            raise Killed
        if self.events_left is not None:
            self.events_left -= 1

    def check(self) -> None:
        """Every effect was done once, under one key."""
        assert {label: len(keys) for label, keys in self.keys.items() if len(keys) > 1} == {}
        assert {label: times for label, times in self.done.items() if times > 1} == {}


LOOP = [("keep", 0), ("call", 0), ("keep", 0), ("call", 0), ("keep", 0), ("call", 0)]
MIXED = [("read", 0), ("keep", 0), ("call", 1), ("read", 0), ("keep", 0), ("call", 1), ("scope", 2), ("read", 2)]
SCOPES = [("scope", 2), ("keep", 0), ("scope", 1), ("call", 1), ("keep", 0), ("scope", 2)]


@pytest.mark.parametrize("steps", [LOOP, MIXED, SCOPES])
@pytest.mark.parametrize("restores", list(itertools.product((True, False), repeat=3)))
def test_whatever_life_restores_and_wherever_two_die_each_effect_is_done_once(
    steps: list[tuple[str, int]], restores: tuple[bool, bool, bool]
) -> None:
    for first, second in itertools.product(range(15), repeat=2):
        program = Program(steps)
        if not program.life(first, restores=restores[0]):
            program.life(second, restores=restores[1])
        assert program.life(None, restores=restores[2]), "the last life comes to its end"
        program.check()


def test_random_programs_that_die_often_do_each_effect_once() -> None:
    coin = random.Random(7)
    for _ in range(1500):
        kinds = coin.choices(("keep", "call", "read", "scope"), (4, 4, 3, 1), k=coin.randint(2, 12))
        program = Program([(kind, coin.randint(1, 3) if kind == "scope" else coin.randint(0, 2)) for kind in kinds])
        for _ in range(coin.randint(0, 5)):
            program.life(coin.randint(0, 14), restores=coin.random() < 0.7)
        assert program.life(None, restores=coin.random() < 0.7)
        program.check()


def test_a_checkpoint_at_the_frontier_stores_no_more_than_its_counters() -> None:
    tape = Tape()
    core = tape.core()
    tape.run(core, core.root, prompt())
    assert core.root.place() == {}
    core = tape.core()
    assert core.root.place() == {"/": 1, "#": 1}
    tape.run(core, core.root, prompt())
    assert core.root.place() == {}
