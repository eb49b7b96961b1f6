"""Random programs to try the rules on, and the world around them.

Who keeps the rules is a `Life`: the model (core_model.py) or the core. A program is a tree of
calls, scopes, branches and errors. Every live call gives a fresh random value and later arguments
are made of earlier answers, so an answer asked for twice, lost, or handed to another branch shows
in the result. Programs run as generators: each `yield` is a place where another branch may go on or
the process may die.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

from tests.instrumentation.core_model import CallError, Crash, Diverged, Doubtful, Journal, Key, Life, ids_of

Steps = Generator[None, None, Any]


@dataclass
class World:
    """What survives every process: models, tools, and providers that honour an idempotency key."""

    rng: random.Random
    fired: Counter[Key] = field(default_factory=Counter[Key])
    by_key: dict[Key, int] = field(default_factory=dict[Key, int])
    asked: Counter[Key] = field(default_factory=Counter[Key])

    def live(self, key: Key) -> int:
        """Make the call. A name that starts with "once" fails the first time, with "never"
        always.
        """
        self.asked[key] += 1
        if key.name.startswith("never") or (key.name.startswith("once") and self.asked[key] == 1):
            raise CallError(key)
        value = self.rng.randrange(1, 10**12)
        if key.kind != "effect":
            return value
        self.fired[key] += 1
        return self.by_key.setdefault(key, value)


@dataclass
class Op:
    """One step of a program: a call by its name, or what lies within it."""

    what: str
    name: str = ""
    inner: list[list[Op]] = field(default_factory=list[list["Op"]])


LEAVES = ("llm", "read", "effect", "effect", "same", "tools", "caught", "once", "once declined")


def make(rng: random.Random, depth: int = 0, *, errors: bool = True) -> list[Op]:
    """Return a random program."""
    ops: list[Op] = []
    for _ in range(rng.randint(1, 4)):
        what = rng.choice((*LEAVES, "branches", "branches", "scope", "cleanup"))
        if what in ("once", "once declined", "cleanup", "caught") and (not errors or rng.random() < 0.6):
            what = "effect"
        if what == "branches" and depth < 3:
            first = make(rng, depth + 1, errors=errors)
            ops.append(
                Op(
                    what,
                    "",
                    [
                        first if rng.random() < 0.3 else make(rng, depth + 1, errors=errors)
                        for _ in range(rng.randint(2, 3))
                    ],
                )
            )
        elif what == "scope" and depth < 3:
            ops.append(Op(what, rng.choice("pq"), [make(rng, depth + 1, errors=errors)]))
        else:
            ops.append(Op("effect" if what in ("branches", "scope") else what, rng.choice("xyz")))
    return ops


@dataclass
class Task:
    steps: Steps
    done: bool = False
    value: Any = None
    error: CallError | None = None


@dataclass
class Play:
    """Runs one program in one life: a scheduler that picks any task that can go on."""

    life: Life
    world: World
    rng: random.Random
    tasks: list[Task] = field(default_factory=list[Task])

    def call(self, scope: Any, kind: str, name: str, argument: Hashable, call_id: str = "") -> Steps:
        yield
        begun = self.life.begin(scope, kind, name, argument, call_id)
        if begun.what == "answer":
            return begun.value
        if begun.what == "raise":
            raise CallError(begun.key)
        yield
        try:
            value = self.world.live(begun.key)
        except CallError:
            yield
            self.life.ended(begun, 0, failed=True)
            raise
        yield
        self.life.ended(begun, value, failed=False)
        yield
        return value

    def spawn(self, steps: Steps) -> Task:
        self.tasks.append(Task(steps))
        return self.tasks[-1]

    def join(self, tasks: list[Task]) -> Steps:
        """Wait as `asyncio.gather` does: the first error ends the wait, the others go on."""
        while not all(t.done for t in tasks):
            for t in tasks:
                if t.error is not None:
                    raise t.error
            yield
        for t in tasks:
            if t.error is not None:
                raise t.error
        return tuple(t.value for t in tasks)

    def within(self, ops: list[Op], scope: Any, who: str) -> Steps:
        """Run a program in a scope, and leave it."""
        try:
            seen: Any = yield from self.run(ops, scope, who)
        except CallError:
            self.life.leave(scope, failed=True)
            raise
        self.life.leave(scope, failed=False)
        return seen

    def run(self, ops: list[Op], scope: Any, who: str) -> Steps:
        seen: list[Any] = [who]
        for i, op in enumerate(ops):
            argument = sha256(repr(seen[-2:]).encode()).hexdigest()
            if op.what in ("llm", "read", "effect"):
                seen.append((yield from self.call(scope, op.what, op.name, argument)))
            elif op.what == "same":
                seen.append((yield from self.call(scope, "effect", op.name, "equal everywhere")))
            elif op.what == "once":
                seen.append((yield from self.call(scope, "read", "once", argument)))
            elif op.what == "once declined":
                seen.append((yield from self.call(scope, "effect", "once declined", argument)))
            elif op.what == "caught":
                try:
                    yield from self.call(scope, self.kind_of(op), "never", argument)
                except CallError:
                    seen.append((yield from self.call(scope, "effect", "instead", argument)))
            elif op.what == "cleanup":
                try:
                    yield from self.call(scope, "read", "once", argument)
                except CallError:
                    yield from self.call(scope, "effect", "refund", argument)
                    raise
            elif op.what == "scope":
                inner = self.life.child(scope, op.name, branch=False)
                seen.append((yield from self.within(op.inner[0], inner, who)))
            elif op.what == "tools":
                answer = yield from self.call(scope, "llm", op.name, argument)
                name = "tool" + ("'" if op.name.endswith("'") else "")
                kids = [
                    self.spawn(self.call(scope, "effect", "tool", f"{name}{j}", c))
                    for j, c in enumerate(ids_of(answer))
                ]
                seen.append((yield from self.join(kids)))
            else:
                kids = [
                    self.spawn(self.within(sub, self.life.child(scope, "b", branch=True), f"{who}.{i}.{j}"))
                    for j, sub in enumerate(op.inner)
                ]
                seen.append((yield from self.join(kids)))
        return tuple(seen)

    @staticmethod
    def kind_of(op: Op) -> str:
        return "effect" if op.name == "x" else "read"

    def through(self, ops: list[Op], root: Any, crash_after: int | None) -> Any:
        """Run a program to its end, to its error, or until it dies."""
        first = self.spawn(self.run(ops, root, "r"))
        steps = 0
        while not first.done:
            task = self.rng.choice([t for t in self.tasks if not t.done])
            try:
                next(task.steps)
            except StopIteration as end:
                task.done, task.value = True, end.value
            except CallError as error:
                task.done, task.error = True, error
            steps += 1
            if crash_after is not None and steps >= crash_after:
                raise Crash
        self.life.finish(first.error)
        if first.error is not None:
            raise first.error
        return first.value


def intended(ops: list[Op]) -> int:
    """Return how many effects a program that ends well has fired."""
    count = {"effect": 1, "same": 1, "once declined": 1, "caught": 1, "tools": 3}
    return sum(count.get(op.what, 0) + sum(map(intended, op.inner)) for op in ops)


def flat(value: Any) -> list[int]:
    if isinstance(value, (list, tuple)):
        return [n for v in cast("list[Any]", value) for n in flat(v)]
    return [value] if isinstance(value, int) else []


@dataclass(frozen=True)
class Setting:
    policy: str
    host_lost: bool = False
    barrier: bool = True


def trial(
    seed: int, setting: Setting, new_life: Callable[[Journal, str], tuple[Life, Any]], *, errors: bool = True
) -> tuple[str, int]:
    """Run one random program through crashes until it ends; return how that went and how often it
    died.

    "ok", "ok, ended by its error" and "stopped in doubt" are right. "its error stands" is safe and
    should be rare: an effect of a branch that made its first call after the error looks like the
    program's answer to it. All else names what is broken.
    """
    rng = random.Random(seed)
    ops, world, journal = make(rng, errors=errors), World(rng), Journal(setting.barrier)
    out: Any = None
    crashes, stood = 0, 0
    dying = rng.randint(1, 5)
    for n in range(60):
        life, root = new_life(journal, setting.policy)
        try:
            out = Play(life, world, rng).through(ops, root, rng.randint(1, 90) if n < dying else None)
            break
        except Crash:
            crashes += 1
            if setting.host_lost and rng.random() < 0.7:
                journal.lose_host(rng)
        except CallError:
            before = world.asked.total()
            stood = stood + 1 if n >= dying else 0
            if stood > 25 and before == world.asked.total():
                break
        except Diverged:
            return "CORRECT PROGRAM REFUSED", crashes
        except Doubtful:
            twice = max(world.fired.values(), default=0) > 1
            return ("EFFECT FIRED TWICE" if twice else "stopped in doubt"), crashes
    if setting.policy == "fail" and max(world.fired.values(), default=0) > 1:
        return "EFFECT FIRED TWICE", crashes
    if out is None:
        return (
            "ok, ended by its error" if any(k.name == "refund" for k in world.by_key) else "its error stands"
        ), crashes
    if len(world.by_key) != intended(ops):
        return "WRONG NUMBER OF EFFECTS", crashes
    got = Counter(flat(out))
    if any(got[v] != n for v, n in Counter(world.by_key.values()).items()):
        return "A RESULT LOST OR SHARED", crashes
    fired = world.asked.total()
    life, root = new_life(journal, setting.policy)
    try:
        again = Play(life, world, random.Random(seed + 1)).through(ops, root, None)
    except Diverged:
        return "CORRECT PROGRAM REFUSED", crashes
    return ("ok" if again == out and fired == world.asked.total() else "ANSWER DIFFERS"), crashes


def changed(rng: random.Random, ops: list[Op]) -> list[Op]:
    """Return the program with one call changed."""
    i = rng.randrange(len(ops))
    op = ops[i]
    if op.inner:
        j = rng.randrange(len(op.inner))
        inner = [changed(rng, sub) if n == j else sub for n, sub in enumerate(op.inner)]
        new = Op(op.what, op.name, inner)
    else:
        new = Op(op.what, op.name + "'")
    return [new if n == i else o for n, o in enumerate(ops)]
