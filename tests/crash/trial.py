"""One run with its kills: start, kill, restart at once, again, until it ends; then what it saw is checked.

                     ┌─ at a step: paused there by the hook ─┐
    start ─▶ begun ──┤                                       ├─▶ SIGKILL of one process or several ─▶ restart
       ▲             └─ at a random instant ─────────────────┘                                            │
       └──────────────────────────────────────────────────────────────────────────────────────────────────┘
    stopped in doubt ─▶ the ledger is looked up ─▶ resolve ─▶ start again (no kill)

Checked here: answers are those that were seen before, effects were tried once (more often only where the kill
fell inside the tool), states come back, the spool is whole. What the lake says is lake_check.py's.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.stage import Agent, Stage, TrialError, wait_until
from tests.crash.steps import branches_of
from tests.crash.witness import Line, read_witness

from livespan.replay.testing import ledger

__all__ = ["RANDOM", "Kill", "Outcome", "RunPlan", "check_started", "play", "play_together"]

RANDOM: Final = "random"
_LIVES: Final = 60
_AT_STEP_S: Final = 4.0
_RUN_S: Final = 60.0
_AGENT_STEPS: Final = ("llm", "between", "intent.", "effect", "after", "append")
_OPENING: Final = ("lease.granted", "lease.recorded")
"""Steps that come before a life has begun."""
_SLOW: Final = {
    "log.segment_created": 10.0,
    "lease.before_release": _RUN_S,
    "lease.released": _RUN_S,
    "lease.snapshot": 8.0,
    "log.recycle": 10.0,
}
"""Seconds to wait for steps that come at a life's end, or when its records are published."""
_LATER: Final = ("drain.deleted", "log.segment_created", "log.recycle")
"""Steps that come when the program has ended."""
_IN_COLLECTOR: Final = ("log", "hot", "publish", "lease")
_AWAY: Final = ("Unavailable", "EffectUnavailable")
_IN_ROOT: Final = {"single": ("b0.",), "restore": ("b0.",), "asyncio": ("b0.",), "fork": ("b0.", "b2."), "threads8": ()}
"""Steps of which branches have their checkpoints where the run itself is."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill that is planned: of which roles, at which step (or RANDOM), at its `nth` passing."""

    roles: frozenset[str]
    at: str = RANDOM
    nth: int = 1


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A program, and its kills in their order."""

    run: str
    shape: str
    seed: int
    kills: tuple[Kill, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A kill that was made.

    Attributes:
        roles: whose processes died.
        at: the step that the process stood at, or RANDOM.
        between: it fell between the first and the last node of the run.
    """

    run: str
    shape: str
    roles: frozenset[str]
    at: str
    between: bool


@dataclass(slots=True)
class _Progress:
    """A run under way."""

    plan: RunPlan
    agent: Agent
    coin: random.Random
    left: list[Kill]
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    lives: int = 1
    begun_before: int = 0
    done: bool = False


def play(stage: Stage, plan: RunPlan, *, without: str = "") -> list[Outcome]:
    """Run a plan to its end; return the kills that were made.

    Raises:
        TrialError: something that must hold does not.
    """
    return play_together(stage, [plan], without=without)


def play_together(stage: Stage, plans: list[RunPlan], *, without: str = "") -> list[Outcome]:
    """Run several programs on one home at the same time. A planned kill of an agent kills its own; drain and collector
    are everybody's.
    """
    runs = [
        _Progress(
            plan,
            stage.start_agent(plan.run, plan.shape, plan.seed, without=without),
            random.Random(plan.seed),
            list(plan.kills),
        )
        for plan in plans
    ]
    deadline = time.monotonic() + _RUN_S * len(plans)
    while any(not run.done for run in runs):
        for run in runs:
            if not run.done:
                _next(stage, run, without)
        if time.monotonic() > deadline:
            raise TrialError(
                f"{[run.plan.run for run in runs if not run.done]} do not end: {stage.said(runs[0].plan.run)}"
            )
    for run in runs:
        check_witness(stage.folder, run.plan)
    return [outcome for run in runs for outcome in run.outcomes]


def _next(stage: Stage, run: _Progress, without: str) -> None:
    """Make the next kill of a run, or, where none is left, see it to its end."""
    if run.left:
        _kill(stage, run, run.left.pop(0))
    elif not wait_until(lambda: run.agent.ended, _RUN_S, 0.005):
        raise TrialError(f"{run.plan.run} does not end: {stage.said(run.plan.run)}")
    if run.agent.ended:
        _ended(stage, run, without)


def _ended(stage: Stage, run: _Progress, without: str) -> None:
    code = run.agent.process.returncode
    lines = read_witness(_witness(stage, run))
    if code == 0 and lines[-1].what == "finished":
        run.done = True
        return
    stopped = [line for line in lines if line.what == "stopped"]
    if code > 0:
        reason = stopped[-1].name if stopped else ""
        if code == 5 and reason == "InDoubt":
            _check_doubt(run.plan.run, stopped[-1].subject.rpartition("/")[2], lines)
            _settle(stage, run.plan.run, stopped[-1].subject.rpartition("/")[2], lines)
        elif code == 5 and reason in _AWAY and (stage.collectors_killed or stage.refuses):
            stage.wait_for_collector()
        else:
            raise TrialError(f"{run.plan.run} ended by itself with code {code} {reason}: {stage.said(run.plan.run)}")
    run.lives += 1
    if run.lives > _LIVES:
        raise TrialError(f"{run.plan.run} does not end in {_LIVES} lives")
    run.begun_before = _begun(stage, run)
    run.agent = stage.start_agent(run.plan.run, run.plan.shape, run.plan.seed, without=without)


def _check_doubt(run: str, node: str, lines: list[Line]) -> None:
    """Doubt is right only about an effect that nobody has seen return: the end of one that returned is spooled."""
    for line in lines:
        if line.what == "returned" and line.node == node:
            raise TrialError(f"missing: {run}: {line.name} {line.label} returned in life {line.life}, and is in doubt")


def _settle(stage: Stage, run: str, node: str, lines: list[Line]) -> None:
    """Do what a person does: look the effect up where it shows, and say what became of it."""
    keys = {line.key: line.name for line in lines if line.what == "entered" and line.node == node}
    for key, name in keys.items():
        found = ledger.find(stage.folder / f"{name}.ledger", key)
        if found is not None:
            stage.resolve(run, node, json.dumps(found).encode())
            return
    stage.resolve(run, node, None)


def _kill(stage: Stage, run: _Progress, kill: Kill) -> None:
    """Wait for the instant, kill, restart at once; where the program ends before, nothing is killed or counted."""
    may_begin_first = not kill.at.startswith((*_AGENT_STEPS, *_OPENING))
    if may_begin_first and not wait_until(lambda: run.agent.ended or _begun(stage, run) > run.begun_before, _RUN_S):
        raise TrialError(f"{run.plan.run} does not begin: {stage.said(run.plan.run)}")
    if kill.at == RANDOM:
        wait_until(lambda: run.agent.ended, run.coin.uniform(0.0, _left_s(stage, run)), 0.001)
        if not run.agent.ended:
            _kill_now(stage, run, kill)
        return
    part = kill.at.partition(".")[0]
    role = "collector" if part in _IN_COLLECTOR else part
    request = stage.pause(f"agent-{run.plan.run}" if kill.at.startswith(_AGENT_STEPS) else role, kill.at, kill.nth)
    try:
        over = kill.at not in _LATER
        wait_until(lambda: request.reached or (over and run.agent.ended), _SLOW.get(kill.at, _AT_STEP_S))
        if request.reached:
            _kill_now(stage, run, kill)
    finally:
        request.withdraw()


def _kill_now(stage: Stage, run: _Progress, kill: Kill) -> None:
    before = read_witness(_witness(stage, run))
    if kill.at == "effect":
        check_started(stage, run.plan.run)
    ended_before = run.agent.ended
    killed = stage.kill(kill.roles, [run.agent])
    after = read_witness(_witness(stage, run))
    if killed:
        first = kill.at.startswith(_AGENT_STEPS) or any(line.what in ("returned", "entered") for line in before)
        last = ended_before or any(line.what == "finished" for line in after)
        run.outcomes.append(Outcome(run.plan.run, run.plan.shape, frozenset(killed), kill.at, first and not last))
    damaged = stage.damaged_records()
    if damaged:
        raise TrialError(f"corrupt: the spool holds records that are not whole: {damaged[:3]}")
    if "collector" in kill.roles:
        stage.start_collector()
    if "drain" in kill.roles:
        stage.start_drain()


def check_started(stage: Stage, run: str) -> None:
    """Check that each effect that was entered has its start in the log: it does not go by the spool.

    Raises:
        TrialError: one has not.
    """
    lines = read_witness(stage.folder / f"{run}.witness")
    started = stage.nodes(run)
    for line in lines:
        if line.what == "entered" and line.node not in started:
            raise TrialError(
                f"unstarted: {run}: {line.name} {line.label} was entered and its start is not acknowledged"
            )


def _left_s(stage: Stage, run: _Progress) -> float:
    """Return about how long the program has left, so that random instants fall within it."""
    branches = branches_of(run.plan.shape, run.plan.seed)
    longest = max(sum(step.pace_s if step.kind == "think" else 0.004 for step in branch.steps) for branch in branches)
    seen = {line.label for line in read_witness(_witness(stage, run)) if line.what in ("returned", "checkpoint")}
    share = 1 - len(seen) / sum(len(branch.steps) for branch in branches)
    return longest * (2 if len(branches) > 1 else 1.2) * share * 0.7


def _begun(stage: Stage, run: _Progress) -> int:
    return sum(line.what == "begun" for line in read_witness(_witness(stage, run)))


def _witness(stage: Stage, run: _Progress) -> Path:
    return stage.folder / f"{run.plan.run}.witness"


# What the witness and the ledgers say by themselves.


def check_witness(folder: Path, plan: RunPlan) -> None:
    """Check a run that has ended.

    Raises:
        TrialError: an answer changed, an effect was tried again, or a state did not come back.
    """
    lines = read_witness(folder / f"{plan.run}.witness")
    _check_answers(lines)
    _check_effects(folder, lines)
    _check_states(plan, lines)
    if plan.shape != "restore":
        steps = {
            f"{branch.name}.{index}"
            for branch in branches_of(plan.shape, plan.seed)
            for index in range(len(branch.steps))
        }
        last = max(line.life for line in lines if line.what == "finished")
        seen = {line.label for line in lines if line.life == last and line.what in ("returned", "checkpoint")}
        if seen != steps:
            raise TrialError(f"{plan.run}: the last life did not see {sorted(steps - seen)}")


def _check_answers(lines: list[Line]) -> None:
    answers: dict[tuple[str, str], Line] = {}
    for line in lines:
        if line.what == "returned":
            first = answers.setdefault((line.name, line.label), line)
            if (first.input, first.output) != (line.input, line.output):
                raise TrialError(
                    f"{line.name} {line.label}: life {first.life} saw another answer than life {line.life}"
                )


def _check_effects(folder: Path, lines: list[Line]) -> None:
    """An effect is entered again only if no life saw it return: the kill fell inside the tool."""
    entries: Counter[tuple[str, str]] = Counter()
    lives: dict[tuple[str, str], int] = {}
    keys: dict[str, str] = {}
    returned: set[tuple[str, str]] = set()
    for line in lines:
        one = (line.name, line.key)
        if line.what == "returned" and line.node:
            returned.add(one)
        if line.what != "entered":
            continue
        if one in returned or lives.get(one) == line.life or (line.name == "pay_fail" and entries[one]):
            _settled_not_done(folder, line)
        if keys.setdefault(line.label, line.key) != line.key:
            raise TrialError(f"the effect {line.label} ran under two keys")
        entries[one] += 1
        lives[one] = line.life
    for name in ("pay_fail", "pay_retry", "pay_probe"):
        book = ledger.read(folder / f"{name}.ledger")
        tries, charges = (Counter(one.key for one in part) for part in (book.tries, book.charges))
        for (tool, key), times in entries.items():
            allowed = times if name == "pay_retry" else 1
            if tool == name and (charges[key] > 1 or tries[key] > allowed):
                raise TrialError(f"{name} {key} took money {charges[key]} times in {tries[key]} tries")


def _settled_not_done(folder: Path, line: Line) -> None:
    """A second entry is right only where the first came to nothing: nothing stands in the ledger but this one's try."""
    tries = Counter(one.key for one in ledger.read(folder / f"{line.name}.ledger").tries)
    if line.name != "pay_fail" or tries[line.key] > 1:
        raise TrialError(f"{line.name} {line.label} was entered again in life {line.life}")


def _check_states(plan: RunPlan, lines: list[Line]) -> None:
    """A life is handed the newest state that an earlier one has seen kept, or one that was kept as it died."""
    newest = ""
    known: dict[str, int] = {}
    for line in lines:
        if line.what == "checkpoint" and line.label.startswith(_IN_ROOT[plan.shape]):
            newest = line.state
            known[newest] = len(known)
        elif line.what == "begun" and newest and (not line.state or known.get(line.state, len(known)) < known[newest]):
            raise TrialError(f"{plan.run}: life {line.life} was not handed the newest state that was kept")
