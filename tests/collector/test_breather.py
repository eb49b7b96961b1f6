from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from livespan.collector.lake import breather
from livespan.collector.lake.breather import Breather


@dataclass
class FakeTime:
    now_s: float = 100.0
    slept_s: list[float] = field(default_factory=list[float])

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(round(seconds, 4))
        self.now_s += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(breather, "time", fake)
    return fake


def test_it_pauses_for_as_long_as_was_worked_since_the_last_pause(time: FakeTime) -> None:
    breathe = Breather(lambda: False)
    for _ in range(5):
        time.now_s += 0.0015
        breathe()
    assert time.slept_s == [0.003, 0.003]


def test_one_long_step_is_not_paid_for_in_full_nor_is_what_was_before_the_work(time: FakeTime) -> None:
    breathe = Breather(lambda: False)
    time.now_s += 60
    breathe.begin()
    breathe()
    assert time.slept_s == []
    time.now_s += 0.5
    breathe()
    assert time.slept_s == [0.01]


def test_who_falls_behind_does_not_pause(time: FakeTime) -> None:
    hurried = True
    breathe = Breather(lambda: hurried)
    time.now_s += 0.005
    breathe()
    assert time.slept_s == []
    hurried = False
    breathe()
    assert time.slept_s == [0.005]
