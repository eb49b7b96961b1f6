"""Programs beside a collector on a bad machine: its disk answers EIO now and then, its wall time is set a day back and
forward. (Of an agent's disk there is the mapped spool alone, where EIO is a SIGBUS that nothing can catch.)

A program that is refused (an effect whose start cannot be acknowledged, a run that cannot be opened) is started again,
as its user would; the collector is killed once in each home, so that what a failing disk left behind is read back, too.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.crash.campaign import check_lake
from tests.crash.stage import CollectorShape, Stage, TrialError
from tests.crash.steps import SHAPES
from tests.crash.trial import Kill, RunPlan, play_together
from tests.crash.trouble import TROUBLES
from tests.torture.kills import KillReport

__all__ = ["on_a_bad_machine"]

_RUNS: Final = 6


def on_a_bad_machine(folder: Path, trouble: str, seed: int) -> KillReport:
    """Play programs on one home under a trouble; `kills` counts how often it struck, and `problems` is empty where
    nothing was lost, doubled or damaged.
    """
    report = KillReport()
    coin = random.Random(seed)
    shape = CollectorShape(segment_bytes=64 << 10, publish_s=0.05, trouble=f"{trouble}:{seed}", alone=True)
    stage = Stage(folder, shape)
    plans: list[RunPlan] = []
    try:
        stage.supervise()
        stage.start_all()
        for number in range(_RUNS):
            kills = (Kill(frozenset({"collector"})),) if number == _RUNS // 2 else ()
            plan = RunPlan(f"bad-{number}", coin.choice(SHAPES), coin.randrange(1 << 30), kills)
            play_together(stage, [plan])
            plans.append(plan)
        # The last publication may be what fails: its records are in the log alone then, until a sound life comes.
        stage.drain_to_the_end()
        stage.stop_collector()
        stage.shape = replace(shape, trouble="")
        stage.start_collector()
        problems, compared = check_lake(stage, plans)
        report.kills[trouble] = (stage.pauses / TROUBLES).stat().st_size
        report.problems += problems
        report.compared += compared
    except TrialError as error:
        report.problems.append(f"{trouble}:{seed}: {error}; of {plans[-1:]}")
    finally:
        stage.close()
    return report
