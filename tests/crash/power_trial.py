"""Lives of a collector that each end by a power cut, one after the other on one home, and what must be left of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.crash.power_acks import check_acks, read_acks
from tests.crash.power_life import CUT, MISSED
from tests.crash.stage import ROOT, CollectorShape, Stage, TrialError

__all__ = ["ForgottenError", "lives_and_cuts"]

_RUN = "powerless"


class ForgottenError(TrialError):
    """Something acknowledged is missing, twice or damaged; `problems` says what, each "KIND: what"."""

    def __init__(self, cuts: list[tuple[str, int]], problems: list[str]) -> None:
        super().__init__(f"after cuts at {cuts}: {len(problems)} problems: {problems[:8]}")
        self.problems = problems


def lives_and_cuts(
    folder: Path,
    cuts: list[tuple[str, int]],
    seed: int,
    *,
    keep: bool = False,
    without: str = "",
    publish_s: float = 0.03,
    overdue_s: float = 15.0,
) -> Counter[str]:
    """Live once for each cut, (step or "random", its nth passing); then publish and compare with what was acknowledged.

    Args:
        keep: a coin decides of each unsynced sector and name whether it survives; else none does.
        without: "sync": the log acknowledges what is not synced.
        publish_s: the collectors publish this often.
        overdue_s: a life that has not come to its step after this long has missed it.

    Raises:
        ForgottenError: see there.
        TrialError: a life did not reach its step, was refused something, or could not begin.
    """
    stage = Stage(folder, CollectorShape(segment_bytes=64 << 10))
    witness, acks = folder / "powerless.witness", folder / "powerless.acks"
    witness.touch()
    with tempfile.TemporaryDirectory(prefix="power-") as sockets:
        for life, (at, nth) in enumerate(cuts, start=1):
            words = ["--home", str(stage.home.root), "--witness", str(witness), "--socket", f"{sockets}/socket"]
            words += ["--acks", str(acks), "--run", _RUN, "--without", without]
            words += ["--publish-s", str(publish_s), "--overdue-s", str(overdue_s)]
            words += ["--life", str(life), "--at", at, "--nth", str(nth), "--seed", str(seed * 100 + life)]
            _live([*words, *(["--keep"] if keep else [])], f"{at} ({nth})")
    try:
        stage.start_collector()
        stage.wait_for_collector()
        stage.stop_collector()
    finally:
        stage.close()
    views = stage.home.lake / "views.sql"
    asked = [{"run": _RUN, "witness": str(witness), "whole": False, "ended": False}]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("lake_check.py")), str(views)],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        raise TrialError(f"the lake cannot be read: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    forgotten, answered = check_acks(views, _RUN, read_acks(acks))
    problems = [*found["problems"].get(_RUN, []), *forgotten]
    if problems:
        raise ForgottenError(cuts, problems)
    compared: Counter[str] = Counter(found["counts"])
    return compared + answered


def _live(words: list[str], at: str) -> None:
    command = [sys.executable, "-m", "tests.crash.power_life", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, cwd=ROOT)
    if done.returncode == MISSED:
        raise TrialError(f"a life has not reached {at}, so nothing was tried there")
    if done.returncode != CUT:
        raise TrialError(f"a life ended with {done.returncode}, not by the cut at {at}: {done.stderr[-2000:]}")
