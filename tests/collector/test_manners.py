"""The pauses of a thread that works beside acknowledgements."""

from __future__ import annotations

import time

from livespan.collector.lake.manners import Manners


def _work(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def test_long_work_is_interrupted_by_pauses_and_nothing_of_it_is_left_out() -> None:
    pauses: list[float] = []
    seen: list[int] = []
    for item in Manners(pause=pauses.append).after_each(range(4)):
        _work(0.003)
        seen.append(item)
    assert seen == [0, 1, 2, 3]
    assert len(pauses) == 4
    assert all(0 < pause < 0.001 for pause in pauses)


def test_short_work_is_not_interrupted_again() -> None:
    pauses: list[float] = []
    manners = Manners(pause=pauses.append)
    began_s = time.perf_counter()
    calls = 0
    while time.perf_counter() < began_s + 0.01:
        manners.stand_back()
        calls += 1
    assert len(pauses) <= 6 < calls


def test_who_is_hurried_makes_no_pause() -> None:
    pauses: list[float] = []
    manners = Manners(lambda: True, pauses.append)
    for _ in manners.after_each(range(4)):
        _work(0.003)
    assert pauses == []
