"""Real tasks and threads, run through crashes over records in memory, come out right or stop
with the right reason.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from tests.instrumentation.core_model import Crash
from tests.instrumentation.core_programs import flat
from tests.instrumentation.core_tape import Tape

from livespan.instrumentation import branches
from livespan.instrumentation.branches import branch, current, entered
from livespan.instrumentation.core import FAIL, Answer, Call, Live, Retry, Scope
from livespan.proto.errors import Divergence, InDoubt
from livespan.proto.node import NodeType

TRIALS = 60
"""Per policy; about 1 s for each ten."""

Program = list[tuple[str, list["Program"]]]


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    branches.install()
    yield
    branches.uninstall()


class World:
    """Providers that honour an idempotency key, and models that never say the same twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.lock = rng, threading.Lock()
        self.fired: Counter[str] = Counter()
        self.by_key: dict[str, int] = {}

    def live(self, live: Live) -> int:
        with self.lock:
            value = self.rng.randrange(1, 10**12)
            if not live.call.effect:
                return value
            self.fired[live.idempotency_key] += 1
            return self.by_key.setdefault(live.idempotency_key, value)


class Life:
    """One life: what a decorator does around the core, dying at the `crash_at`th chance."""

    def __init__(self, tape: Tape, world: World, policy: str, crash_at: int | None) -> None:
        self.tape, self.world = tape, world
        self.core = tape.core()
        self.core.root.on_end = self.core.leave
        self.policy = FAIL if policy == "fail" else Retry()
        self.lock, self.chances, self.crash_at = threading.Lock(), count(1), crash_at
        self.dead = False

    def chance(self) -> None:
        """A place where the process may die. A dead process writes nothing and does nothing."""
        if self.crash_at is not None and next(self.chances) >= self.crash_at:
            self.dead = True
        if self.dead:
            raise Crash

    def steps(self, kind: str, argument: object) -> Iterator[int | None]:
        """Make a call; yields None where others may go on, and the result at last."""
        scope = current()
        assert scope is not None
        node_type = NodeType.TOOL if kind != "read" else NodeType.MEMORY
        call = Call(node_type, kind, repr(argument), kind != "read", "", self.policy)
        self.chance()
        begun = self.core.begin(scope, call, 0)
        if isinstance(begun, Answer):
            assert isinstance(begun.recorded.output, int)
            yield begun.recorded.output
            return
        assert isinstance(begun, Live)
        with self.lock:
            self.chance()
            self.tape.started(begun)
        yield None
        with self.lock:
            self.chance()
            value = self.world.live(begun)
        yield None
        with self.lock:
            self.chance()
            self.tape.done(self.core, begun, value)
        yield value

    def call(self, kind: str, argument: object) -> int:
        return next(v for v in self.steps(kind, argument) if v is not None)

    async def acall(self, kind: str, argument: object) -> int:
        for value in self.steps(kind, argument):
            if value is not None:
                return value
            for _ in range(self.world.rng.randrange(4)):
                await asyncio.sleep(0)
        raise AssertionError

    def play(self, program: Program, who: str) -> list[Any]:
        """Run a program in a thread."""
        seen: list[Any] = [who]
        for i, (what, inner) in enumerate(program):
            names = [f"{who}.{i}.{j}" for j in range(len(inner))]
            if what in ("read", "effect", "same"):
                seen.append(self.call(what, "" if what == "same" else seen[-2:]))
            elif what == "scope":
                scope = current()
                assert scope is not None
                inside = self.core.enter(scope, "s")
                with entered(inside):
                    seen.append(self.play(inner[0], names[0]))
                self.core.leave(inside)
            elif what in ("gather", "group"):
                seen.append(asyncio.run(self.gathered(inner, names)))
            elif what == "threads":
                seen.append(self.in_threads(inner, names))
            else:
                with ThreadPoolExecutor(3) as pool:
                    seen.append(list(pool.map(self.play, inner, names)))
        return seen

    async def gathered(self, inner: list[Program], names: list[str]) -> list[Any]:
        return list(await asyncio.gather(*map(self.aplay, inner, names)))

    def in_threads(self, inner: list[Program], names: list[str]) -> list[Any]:
        got: dict[int, Any] = {}

        def one(j: int) -> None:
            try:
                with branch(f"number {j}"):
                    got[j] = self.play(inner[j], names[j])
            except BaseException as error:
                got[j] = error

        threads = [threading.Thread(target=one, args=(j,)) for j in range(len(inner))]
        # Named by hand, so that they may be started in any order.
        for thread in self.world.rng.sample(threads, len(threads)):
            thread.start()
        for thread in threads:
            thread.join()
        for value in got.values():
            if isinstance(value, BaseException):
                raise value
        return [got[j] for j in range(len(inner))]

    async def aplay(self, program: Program, who: str) -> list[Any]:
        """Run a program in a task."""
        seen: list[Any] = [who]
        for i, (what, inner) in enumerate(program):
            names = [f"{who}.{i}.{j}" for j in range(len(inner))]
            if what in ("read", "effect", "same"):
                seen.append(await self.acall(what, "" if what == "same" else seen[-2:]))
            elif what == "scope":
                scope = current()
                assert scope is not None
                inside = self.core.enter(scope, "s")
                with entered(inside):
                    seen.append(await self.aplay(inner[0], names[0]))
                self.core.leave(inside)
            elif what == "gather":
                seen.append(await self.gathered(inner, names))
            elif what == "group":
                tasks: list[asyncio.Task[list[Any]]] = []
                try:
                    async with asyncio.TaskGroup() as group:
                        tasks.extend(map(group.create_task, map(self.aplay, inner, names)))
                except BaseExceptionGroup as errors:
                    raise errors.exceptions[0] from None
                seen.append([t.result() for t in tasks])
            else:
                work = [asyncio.to_thread(self.play, *pair) for pair in zip(inner, names, strict=True)]
                seen.append(list(await asyncio.gather(*work)))
        return seen

    def through(self, program: Program) -> list[Any]:
        with entered(self.core.root):
            got = asyncio.run(self.aplay(program, "r"))
        self.core.finish()
        return got


def make(rng: random.Random, depth: int = 0) -> Program:
    made: Program = []
    for _ in range(rng.randint(1, 3)):
        what = rng.choice(("read", "effect", "effect", "same", "scope", "gather", "group", "threads", "pool"))
        if what in ("read", "effect", "same") or depth > 2:
            made.append((what if what in ("read", "same") else "effect", []))
        else:
            inner = [make(rng, depth + 1) for _ in range(1 if what == "scope" else rng.randint(2, 3))]
            made.append((what, inner))
    return made


def effects(program: Program) -> int:
    return sum((what in ("effect", "same")) + sum(map(effects, inner)) for what, inner in program)


def trial(seed: int, policy: str) -> tuple[str, int]:
    rng = random.Random(seed)
    program, world, tape = make(rng), World(rng), Tape()
    crashes = 0
    got: list[Any] | None = None
    while got is None:
        try:
            crash_at = rng.randint(1, 60) if crashes < 4 else None
            got = Life(tape, world, policy, crash_at).through(program)
        except Crash:
            crashes += 1
        except InDoubt:
            return ("twice" if max(world.fired.values(), default=0) > 1 else "in doubt"), crashes
        except Divergence:
            return "refused", crashes
    if policy == "fail" and max(world.fired.values(), default=0) > 1:
        return "twice", crashes
    if len(world.by_key) != effects(program):
        return "wrong number of effects", crashes
    times = Counter(flat(got))
    if any(times[value] != 1 for value in world.by_key.values()):
        return "lost or shared", crashes
    fired = world.fired.total()
    try:
        again = Life(tape, world, policy, None).through(program)
    except Divergence:
        return "refused", crashes
    return ("ok" if again == got and world.fired.total() == fired else "differs"), crashes


def trials(policy: str, run: Callable[[int, str], tuple[str, int]] = trial) -> Counter[str]:
    ends: Counter[str] = Counter()
    for seed in range(TRIALS):
        end, crashes = run(seed, policy)
        ends[end] += 1
        ends["crashes"] += crashes
    return ends


@pytest.mark.parametrize("policy", ["fail", "retry"])
def test_programs_of_tasks_and_threads_resume_to_the_undisturbed_result(policy: str) -> None:
    ends = trials(policy)
    assert ends["crashes"] > TRIALS / 2
    assert ends["ok"] > TRIALS / 4
    assert set(ends) <= {"ok", "in doubt", "crashes"}


def test_tasks_and_threads_that_share_the_scope_of_their_parent_get_programs_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def itself(scope: Scope, _label: str) -> Scope:
        return scope

    monkeypatch.setattr(Scope, "branch", itself)
    ends = trials("retry")
    assert ends["refused"] + ends["lost or shared"] + ends["differs"] > TRIALS / 20
