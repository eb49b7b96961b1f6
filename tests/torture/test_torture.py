"""The torture, three times each; `make torture` does it twenty times and soaks for ten minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.torture.bad_machine import on_a_bad_machine
from tests.torture.full_disk import on_a_full_disk
from tests.torture.kills import kill_at_each_point
from tests.torture.points import POINTS
from tests.torture.soak import soak

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

TIMES = 3


def test_a_kill_at_any_fault_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    report = kill_at_each_point(tmp_path, TIMES, seed=1)
    assert report.problems == []
    assert report.kills == {point: TIMES for points in POINTS.values() for point in points}
    assert report.compared["returned"] > 1000


@pytest.mark.parametrize("trouble", ["eio", "clock"])
def test_a_bad_disk_and_a_jumping_clock_lose_and_double_nothing(tmp_path: Path, trouble: str) -> None:
    struck = 0
    for seed in range(TIMES):
        report = on_a_bad_machine(tmp_path / str(seed), trouble, seed)
        assert report.problems == []
        struck += report.kills[trouble]
    assert struck >= TIMES


def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    assert [on_a_full_disk(tmp_path / str(seed), seed) for seed in range(1, TIMES)] == [""] * (TIMES - 1)


def test_a_minute_of_500_nodes_a_second_with_kills_loses_nothing_and_memory_stays(tmp_path: Path) -> None:
    report = soak(tmp_path, 60, 500)
    assert (report.missing, report.doubled) == (0, 0), report
    assert report.nodes >= 25_000, report
    assert report.kills >= 5, report
    for role in ("collector", "drain"):
        assert report.late_mb[role] <= 1.1 * report.early_mb[role], report
    assert report.log_mb <= 512, report
