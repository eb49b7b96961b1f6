"""The whole collector and the power: cut at every named step and at random instants, several lives on one home."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.crash.power_trial import lives_and_cuts
from tests.crash.stage import TrialError

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

STEPS = {
    "log.before_write": 20,
    "log.after_write": 20,
    "log.after_sync": 20,
    "log.segment_created": 3,
    "log.recycle": 2,
    "publish.before_content": 3,
    "publish.content_written": 3,
    "publish.content_committed": 3,
    "publish.nodes_written": 3,
    "publish.nodes_committed": 3,
    "publish.views_written": 3,
}
"""Steps, and about how often each is passed within a life."""


def cuts_at(step: str, seed: int) -> list[tuple[str, int]]:
    coin = random.Random(f"{step} {seed}")
    return [(step, coin.randrange(1, STEPS[step] + 1)), ("random", 1), (step, coin.randrange(1, STEPS[step] + 1))]


def test_a_power_cut_at_any_step_or_instant_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    plans = [(cuts_at(step, number), bool(number % 2)) for number, step in enumerate(STEPS)]
    plans += [([("random", 1)] * 3, bool(seed % 2)) for seed in range(6)]
    folders = [tmp_path / str(number) for number in range(len(plans))]

    def played(number: int) -> Counter[str]:
        cuts, keep = plans[number]
        return lives_and_cuts(folders[number], cuts, number, keep=keep)

    with ThreadPoolExecutor(2) as pool:
        compared = sum(pool.map(played, range(len(plans))), Counter[str]())

    assert compared["missing"] + compared["duplicate"] + compared["corrupt"] == 0
    assert compared["returned"] > 20 * len(plans), "too little was acknowledged to prove anything"
    assert compared["checkpoints"] > 5 * len(plans)


def test_without_the_sync_a_power_cut_loses_what_was_acknowledged(tmp_path: Path) -> None:
    with pytest.raises(TrialError):
        lives_and_cuts(tmp_path / "home", [("log.after_write", 30)], 3, without="sync")
