"""Lives of a collector that each end by a power cut, one after the other on one home, and what must be left of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.crash.power_life import CUT
from tests.crash.stage import ROOT, CollectorShape, Stage, TrialError

__all__ = ["lives_and_cuts"]


def lives_and_cuts(
    folder: Path, cuts: list[tuple[str, int]], seed: int, *, keep: bool = False, without: str = ""
) -> Counter[str]:
    """Live once for each cut, (step or "random", its nth passing); then publish and compare with what was acknowledged.

    Args:
        keep: a coin decides of each unsynced sector and name whether it survives; else none does.

    Raises:
        TrialError: something acknowledged is missing, twice or damaged, or a life could not begin.
    """
    stage = Stage(folder, CollectorShape(segment_bytes=64 << 10))
    witness = folder / "powerless.witness"
    witness.touch()
    with tempfile.TemporaryDirectory(prefix="power-") as sockets:
        for life, (at, nth) in enumerate(cuts, start=1):
            words = ["--home", str(stage.home.root), "--witness", str(witness), "--socket", f"{sockets}/socket"]
            words += ["--life", str(life), "--at", at, "--nth", str(nth), "--seed", str(seed * 100 + life)]
            _live([*words, "--without", without, *(["--keep"] if keep else [])], at)
    try:
        stage.start_collector()
        stage.wait_for_collector()
        stage.stop_collector()
    finally:
        stage.close()
    asked = [{"run": "powerless", "witness": str(witness), "whole": False, "ended": False}]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("lake_check.py")), str(stage.home.lake / "views.sql")],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        raise TrialError(f"the lake cannot be read: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    if found["problems"]:
        raise TrialError(f"after cuts at {cuts}: {found['problems']['powerless'][:5]}")
    return Counter(found["counts"])


def _live(words: list[str], at: str) -> None:
    command = [sys.executable, "-m", "tests.crash.power_life", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    if done.returncode != CUT:
        raise TrialError(f"a life ended with {done.returncode}, not by the cut at {at}: {done.stderr[-2000:]}")
