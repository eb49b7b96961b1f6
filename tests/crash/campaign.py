"""The kill tests as a whole: homes, runs and kills drawn until enough were made, each checked; then the counts.

    python -m tests.crash.campaign [--quick]

How it is counted. A *trial* is one SIGKILL (of one process, or of several at the same instant) of agent, drain or
collector, followed by their restart at once; a run has up to three. The spool is read back after each; answers, states
and effects of all lives are checked when the run has ended; the lake once all runs of a home have ended, with every
line that their programs wrote in any life. A kill
that was planned and whose program ended before it, or whose process did not live, is no trial. At a step: the process
was paused there by the hook, and killed from outside. At random: after a time drawn evenly from what the run has left.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.serve import RECYCLED
from tests.crash.stage import CollectorShape, Stage, TrialError
from tests.crash.steps import SHAPES
from tests.crash.trial import RANDOM, Kill, Outcome, RunPlan, play_together

__all__ = ["PHASES", "WRONG", "Goal", "Report", "campaign", "check_lake"]

PHASES: Final = {
    "in the LLM call": ("llm",),
    "between result and intent": ("between",),
    "in the intent": ("intent.asked", "intent.granted"),
    "in the effect": ("effect", "effect.done"),
    "after the effect": ("after",),
    "in the drain's send": ("drain.before_send", "drain.sent", "drain.acknowledged"),
    "in the group commit": ("log.before_write", "log.after_write", "log.after_sync"),
    "in publishing": (
        "publish.before_content",
        "publish.content_written",
        "publish.content_committed",
        "publish.nodes_written",
        "publish.nodes_committed",
        "publish.views_written",
    ),
}
WRONG: Final = ("missing", "duplicate", "corrupt", "unstarted", "unseen")
"""What is counted as wrong; `unstarted` is an effect without a started record."""
_PHASE_OF: Final = {step: phase for phase, steps in PHASES.items() for step in steps}
_MUST_DIE: Final = {"drain": "drain", "log": "collector", "publish": "collector"}
_TOGETHER: Final = (
    ("agent",), ("drain",), ("collector",), ("agent",), ("agent", "drain"), ("agent", "collector"),
    ("collector", "drain"), ("agent", "collector", "drain"),
)  # fmt: skip
_PROGRAMS: Final = (*SHAPES, "restore", "processes")
_RUNS_PER_HOME: Final = 8
_SMALL: Final = CollectorShape(segment_bytes=64 << 10, publish_s=0.05, alone=True)
_USUAL: Final = CollectorShape(segment_bytes=1 << 20, publish_s=0.2)


@dataclass(frozen=True, slots=True)
class Goal:
    """How much is enough: trials in all, and in each phase; `limit_s` is when to give up."""

    trials: int = 210
    each_phase: int = 10
    limit_s: float = 1200.0
    seed: int = 1


@dataclass(slots=True)
class Report:
    """What was done and found. `compared` counts lines of witnesses by kind, and what was found wrong."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    problems: list[str] = field(default_factory=list[str])
    compared: Counter[str] = field(default_factory=Counter[str])
    runs: int = 0
    homes: int = 0
    recycled: int = 0
    seconds: float = 0.0

    @property
    def phases(self) -> Counter[str]:
        return Counter(_PHASE_OF[outcome.at] for outcome in self.outcomes if outcome.at != RANDOM)

    @property
    def at_random(self) -> int:
        return sum(outcome.at == RANDOM for outcome in self.outcomes)

    @property
    def between(self) -> int:
        return sum(outcome.between for outcome in self.outcomes)

    def reaches(self, goal: Goal) -> bool:
        """Return whether enough trials were made."""
        enough = len(self.outcomes) >= goal.trials and 2 * self.at_random >= len(self.outcomes)
        return enough and all(self.phases[phase] >= goal.each_phase for phase in PHASES)

    def __str__(self) -> str:
        trials = len(self.outcomes)
        roles = Counter("+".join(sorted(outcome.roles)) for outcome in self.outcomes)
        shapes = Counter("processes" if "-p" in outcome.run else outcome.shape for outcome in self.outcomes)
        lines = [
            f"{trials} kills (SIGKILL, restart) in {self.runs} runs on {self.homes} homes, {self.seconds:.0f} s",
            f"  between first and last node   {self.between} ({100 * self.between // max(trials, 1)} %)",
            f"  at random instants            {self.at_random}",
            *[f"  {phase:<29} {self.phases[phase]}" for phase in PHASES],
            *[f"  killed {what:<22} {count}" for what, count in sorted(roles.items())],
            *[f"  program {what:<21} {count}" for what, count in sorted(shapes.items())],
            f"  log segments recycled         {self.recycled}",
            f"  compared: answers             {self.compared['returned']}",
            f"  compared: states              {self.compared['checkpoints']}",
            f"  compared: tries of effects    {self.compared['entered']}",
            *[f"  {kind:<29} {self.compared[kind]}" for kind in WRONG],
        ]
        return "\n".join([*lines, *[f"  PROBLEM {problem}" for problem in self.problems]])


class _Campaign:
    """Draws runs and keeps the counts; shared by the workers."""

    def __init__(self, folder: Path, goal: Goal) -> None:
        self.report = Report()
        self._folder = folder
        self._goal = goal
        self._coin = random.Random(goal.seed)
        self._lock = threading.Lock()
        self._number = 0
        self._asked: Counter[str] = Counter()
        self._end_s = time.monotonic() + goal.limit_s

    def work(self) -> None:
        """Play homes until there is enough, or something is wrong."""
        while self._goes_on():
            with self._lock:
                home = self.report.homes
                self.report.homes += 1
            self._play_home(self._folder / f"home{home}", _SMALL if home % 2 else _USUAL)

    def _goes_on(self) -> bool:
        with self._lock:
            done = self.report.problems or self.report.reaches(self._goal)
            return not done and time.monotonic() < self._end_s

    def _play_home(self, folder: Path, shape: CollectorShape) -> None:
        stage = Stage(folder, shape)
        plans: list[RunPlan] = []
        try:
            stage.start_all()
            while len(plans) < _RUNS_PER_HOME and self._goes_on():
                group = self._draw()
                plans += group
                outcomes = play_together(stage, group)
                with self._lock:
                    self.report.outcomes += outcomes
                    self.report.runs += len(group)
            problems, compared = check_lake(stage, plans)
            with self._lock:
                self.report.problems += problems
                self.report.compared += compared
                self.report.recycled += recycled_segments(stage)
        except (TrialError, subprocess.TimeoutExpired) as error:
            with self._lock:
                self.report.problems.append(f"{folder.name}: {error}; of {plans[-3:]}")
        finally:
            stage.close()

    def _draw(self) -> list[RunPlan]:
        """Return the next run, or several for one home at the same time."""
        with self._lock:
            number = self._number
            self._number += 1
            program = _PROGRAMS[number % len(_PROGRAMS)]
            if program != "processes":
                return [RunPlan(f"run-{number}", program, number, self._kills(program))]
            return [
                RunPlan(f"run-{number}-p{each}", "single", 1000 * each + number, self._kills("single"))
                for each in range(3)
            ]

    def _kills(self, program: str) -> tuple[Kill, ...]:
        coin = self._coin
        kills: list[Kill] = []
        wanted = [each for each in PHASES if self.report.phases[each] < self._goal.each_phase + 2]
        if wanted:
            phase = min(wanted, key=lambda each: (self.report.phases[each] + self._asked[each] / 2, coin.random()))
            self._asked[phase] += 1
            step = coin.choice(PHASES[phase])
            roles = set(coin.choice(_TOGETHER)) | {_MUST_DIE.get(step.partition(".")[0], "agent")}
            kills.append(Kill(frozenset(roles), step, 1 if program == "threads8" else coin.randrange(1, 3)))
        # The step comes first: what is left of a program after two kills may not pass it any more.
        kills += [Kill(frozenset(coin.choice(_TOGETHER))) for _ in range(2 - (coin.random() < 0.3))]
        return tuple(kills)


def campaign(folder: Path, goal: Goal, *, workers: int = 2) -> Report:
    """Make trials in `folder` until `goal` is reached or something is wrong."""
    began = time.monotonic()
    work = _Campaign(folder, goal)
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work.work) for _ in range(workers)]:
            done.result()
    work.report.seconds = time.monotonic() - began
    return work.report


def check_lake(stage: Stage, plans: Sequence[RunPlan]) -> tuple[list[str], Counter[str]]:
    """Have everything published, and compare it with what the programs saw, in a process that knows DuckDB alone."""
    stage.drain_to_the_end()
    stage.wait_for_collector()
    stage.stop_collector()
    asked = [
        {"run": plan.run, "witness": str(stage.folder / f"{plan.run}.witness"), "whole": plan.shape != "restore"}
        for plan in plans
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("lake_check.py")), str(stage.home.lake / "views.sql")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        raise TrialError(f"the lake cannot be read: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    problems = [f"{stage.folder.name}/{run}: {what}" for run, many in found["problems"].items() for what in many]
    refused = stage.home.spool / "refused"
    if refused.exists():
        problems.append(f"{stage.folder.name}: records were refused: {sorted(path.name for path in refused.iterdir())}")
    return problems, Counter(found["counts"])


def recycled_segments(stage: Stage) -> int:
    """Return how many log segments were freed to be used again, as the collectors counted."""
    return (stage.pauses / RECYCLED).stat().st_size


def main(arguments: Sequence[str]) -> int:
    """Run and print; return 1 where something is wrong or the goal was not reached."""
    goal = Goal(trials=40, each_phase=2, limit_s=200) if "--quick" in arguments else Goal()
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    report = campaign(folder, goal)
    print(report)
    if report.problems:
        print(f"  kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0 if report.reaches(goal) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
