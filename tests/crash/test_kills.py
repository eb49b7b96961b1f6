"""The kill tests: `LIVESPAN_CRASH_QUICK=1` makes a fifth of the trials, for developers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.crash.campaign import PHASES, WRONG, Goal, campaign

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1500)]

FULL = Goal()
QUICK = Goal(trials=40, each_phase=2, limit_s=240)


def test_nothing_is_lost_doubled_or_damaged_by_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = bool(os.environ.get("LIVESPAN_CRASH_QUICK"))
    goal = QUICK if quick else FULL

    report = campaign(tmp_path, goal)

    with capsys.disabled():
        print(f"\n{report}")
    assert not report.problems, str(report)
    assert [report.compared[kind] for kind in WRONG] == [0] * len(WRONG)
    assert len(report.outcomes) >= goal.trials
    assert 2 * report.at_random >= len(report.outcomes), "at least half fall at random instants"
    assert 10 * report.between >= 8 * len(report.outcomes), "four in five fall between first and last node"
    assert {phase: report.phases[phase] >= goal.each_phase for phase in PHASES} == dict.fromkeys(PHASES, True)
    assert report.recycled >= (10 if quick else 50)
    assert report.compared["returned"] > 10 * len(report.outcomes)
