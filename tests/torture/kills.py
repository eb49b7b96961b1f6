"""SIGKILL at each fault point, restart, and a look at everything that was seen before.

For each point, as often as asked: a program runs, the process that comes to the point is stopped there and killed (in
one time of three together with others), all are started again, and the program goes on to its end. What programs and
lake must say then is tests/crash's to know.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.campaign import check_lake
from tests.crash.stage import CollectorShape, Stage, TrialError
from tests.crash.steps import SHAPES
from tests.crash.trial import Kill, RunPlan, play_together
from tests.torture.points import NEW_SEGMENTS, POINTS, RARE, roles_of

__all__ = ["KillReport", "kill_at_each_point"]

_SHAPE: Final = CollectorShape(segment_bytes=64 << 10, publish_s=0.05, alone=True)
_HOARDING: Final = CollectorShape(segment_bytes=64 << 10, publish_s=600.0, alone=True)
"""What is not published frees no segment, so that new ones are made."""
_TRIES: Final = 20
"""A program may end before it comes to a point; then another one is sent."""
_RUNS_PER_HOME: Final = 12


@dataclass(slots=True)
class KillReport:
    """Kills made by point, and what was found wrong."""

    kills: Counter[str] = field(default_factory=Counter[str])
    compared: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])


def kill_at_each_point(folder: Path, times: int, seed: int) -> KillReport:
    """Kill `times` at each point; `problems` is empty where nothing acknowledged was lost, doubled or damaged."""
    report = KillReport()
    coin = random.Random(seed)
    every = [point for _ in range(times) for points in POINTS.values() for point in points]
    hoarding = [point for point in every if point in NEW_SEGMENTS]
    _play(folder / "hoarding", _HOARDING, hoarding, coin, report)
    _play(folder / "usual", _SHAPE, [point for point in every if point not in NEW_SEGMENTS], coin, report)
    return report


def _play(folder: Path, shape: CollectorShape, wanted: list[str], coin: random.Random, report: KillReport) -> None:
    number = 0
    while wanted and not report.problems:
        stage = Stage(folder / f"home{number}", shape)
        plans: list[RunPlan] = []
        try:
            stage.start_all()
            while wanted and len(plans) < _RUNS_PER_HOME:
                plans += _one(stage, wanted.pop(), coin, f"{number}-{len(plans)}", report)
            problems, compared = check_lake(stage, plans)
            report.problems += problems
            report.compared += compared
        except TrialError as error:
            report.problems.append(f"{stage.folder.name}: {error}; of {plans[-2:]}")
        finally:
            stage.close()
        number += 1


def _one(stage: Stage, point: str, coin: random.Random, name: str, report: KillReport) -> list[RunPlan]:
    """Make one kill at a point, with as many programs as it takes; return what ran."""
    plans: list[RunPlan] = []
    for attempt in range(_TRIES):
        roles = roles_of(point)
        if coin.random() < 0.33:
            roles |= {coin.choice(("agent", "drain", "collector"))}
        group = [
            RunPlan(f"r{name}-{attempt}-{each}", coin.choice(SHAPES), coin.randrange(1 << 30), kills)
            for each, kills in enumerate([(Kill(roles, point),), *([()] * (2 if point in RARE else 0))])
        ]
        plans += group
        if play_together(stage, group):
            report.kills[point] += 1
            return plans
    raise TrialError(f"no program came to {point} in {_TRIES} tries")
