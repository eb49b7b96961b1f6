"""The whole collector and the power: cut at every named step and at random instants, several lives on one home."""

from __future__ import annotations

import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.crash.power_trial import ForgottenError, lives_and_cuts
from tests.crash.stage import TrialError

import livespan.collector.lake
import livespan.collector.log

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
"""Steps, and about how often each is passed within half a second of a life, which goes on until it has come there."""
CALLS = ("hold", "intend", "close", "resolve")
"""Calls of Recovery that are answered once something is kept; each is cut while it is under way."""
SYNC = ("log.after_write", "log.after_sync")
_SOURCES = [Path(module.__file__ or "").parent for module in (livespan.collector.log, livespan.collector.lake)]


def cuts_at(step: str, seed: int) -> list[tuple[str, int]]:
    coin = random.Random(f"{step} {seed}")
    return [(step, coin.randrange(1, STEPS[step] + 1)), ("random", 1), (step, coin.randrange(1, STEPS[step] + 1))]


def test_a_power_cut_at_any_step_or_instant_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    plans = [(cuts_at(step, number), bool(number % 2)) for number, step in enumerate(STEPS)]
    plans += [([(f"{call}:{step}", 2) for call in calls for step in SYNC], False) for calls in (CALLS[:2], CALLS[2:])]
    plans += [([("random", 1)] * 3, bool(seed % 2)) for seed in range(3)]
    folders = [tmp_path / str(number) for number in range(len(plans))]

    def played(number: int) -> Counter[str]:
        cuts, keep = plans[number]
        return lives_and_cuts(folders[number], cuts, number, keep=keep)

    with ThreadPoolExecutor(2) as pool:
        compared = sum(pool.map(played, range(len(plans))), Counter[str]())

    assert compared["missing"] + compared["duplicate"] + compared["corrupt"] == 0
    assert compared["returned"] > 20 * len(plans), "too little was acknowledged to prove anything"
    assert compared["checkpoints"] > 5 * len(plans)
    assert compared["intended"] > 5 * len(plans)
    for answer in ("held", "closed", "settled"):
        assert compared[answer] > 2 * len(plans), f"too few were {answer}"
    print(dict(compared))


def test_no_step_of_the_log_or_the_lake_is_left_out() -> None:
    texts = [path.read_text() for folder in _SOURCES for path in folder.rglob("*.py")]

    steps = {step for text in texts for step in re.findall(r"faults\(\s*\"([^\"]+)\"", text)}
    # A life here publishes too little for a merge: tests/collector/test_compaction.py cuts the power at its steps.
    assert {step for step in steps if not step.startswith("compact.")} == STEPS.keys()


def test_a_step_that_is_not_reached_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="has not reached"):
        lives_and_cuts(tmp_path / "home", [("log.of_another_age", 1)], 4, overdue_s=0.1)


def test_without_the_sync_a_power_cut_loses_each_kind_of_acknowledgement(tmp_path: Path) -> None:
    with pytest.raises(ForgottenError) as caught:
        lives_and_cuts(tmp_path / "home", [("log.after_write", 120)], 3, without="sync", publish_s=60)

    lost = {problem.partition(":")[0] for problem in caught.value.problems}
    assert lost == {"missing", "held", "intended", "settled", "closed"}
