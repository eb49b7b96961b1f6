"""The torture, three times each; `make torture` does it twenty times and soaks for ten minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.torture.bad_machine import on_a_bad_machine
from tests.torture.flip_kinds import KINDS
from tests.torture.flips import flip_each_kind
from tests.torture.full_disk import on_a_full_disk
from tests.torture.kills import kill_at_each_point
from tests.torture.points import POINTS
from tests.torture.soak import SoakReport, faults_of, soak

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

TIMES = 3


def test_a_kill_at_any_fault_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    report = kill_at_each_point(tmp_path, TIMES, seed=1)
    assert report.problems == []
    assert report.kills == {point: TIMES for points in POINTS.values() for point in points}
    assert report.compared["returned"] > 1000


@pytest.mark.parametrize("trouble", ["eio", "clock"])
def test_a_bad_disk_and_a_jumping_clock_lose_and_double_nothing(tmp_path: Path, trouble: str) -> None:
    for seed in range(TIMES):
        report = on_a_bad_machine(tmp_path / str(seed), trouble, seed)
        assert report.problems == []
        assert report.kills[trouble] >= 1, f"home {seed} was never struck"


def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    assert [on_a_full_disk(tmp_path / str(seed), seed) for seed in range(TIMES)] == [""] * TIMES


@pytest.mark.timeout(1800)
def test_a_bit_flipped_in_any_kind_of_file_is_reported_and_harms_nothing_else(tmp_path: Path) -> None:
    report = flip_each_kind(tmp_path, TIMES, seed=1)
    assert report.problems == []
    assert set(report.flips.values()) == {TIMES}
    assert set(report.flips) == KINDS
    assert report.outcomes["reported"] >= len(KINDS), report
    assert report.outcomes["new run went on"] >= TIMES * len(KINDS), report


def test_a_minute_of_500_nodes_a_second_with_kills_loses_nothing_and_memory_stays(tmp_path: Path) -> None:
    report = soak(tmp_path, 60, 500)
    assert faults_of(report) == [], report
    assert report.kills >= 5, report


@pytest.mark.parametrize(
    "fault",
    [
        {"missing": 1},
        {"doubled": 1},
        {"nodes": 100},
        {"kills": 1},
        {"log_mb": 600.0},
        {"late_mb": {"collector": 60.0, "drain": 20.0}},
    ],
)
def test_a_soak_that_went_wrong_in_one_way_is_told(fault: dict[str, Any]) -> None:
    memory = {"collector": 50.0, "drain": 20.0}
    good = SoakReport(seconds=60, rate=500, kills=5, nodes=30_000, early_mb=memory, late_mb=memory)
    assert faults_of(good) == []
    assert len(faults_of(replace(good, **fault))) == 1
