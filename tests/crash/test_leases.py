"""Two processes and one run: one has it, the other is told who; one frozen past its lease starts nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.mutants import TRIALS
from tests.crash.stage import ROOT, CollectorShape, Stage, wait_until
from tests.crash.trial import RunPlan, play
from tests.crash.witness import read_witness

from livespan.replay.testing import ledger

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "s", CollectorShape(lease_s=2.0))
    made.start_all()
    yield made
    made.close()


def test_of_two_processes_that_open_one_run_one_wins_and_the_other_is_told_by_whom(stage: Stage) -> None:
    request = stage.pause("agent-both", "llm", 1)
    agents = [stage.start_agent("both", "single", 3) for _ in range(2)]

    assert wait_until(lambda: request.reached and any(agent.ended for agent in agents), 20)
    (loser,) = [agent for agent in agents if agent.ended]
    (winner,) = [agent for agent in agents if not agent.ended]
    said = stage.said("both")
    request.withdraw()

    assert loser.process.returncode not in (0, -signal.SIGKILL)
    assert "RunHeld" in said
    assert f"pid {winner.process.pid}" in said, "the message names the holder"
    assert "Wait until it ends" in said, "and says what to do"
    assert wait_until(lambda: winner.ended, 20)
    assert winner.process.returncode == 0
    assert [line.what for line in read_witness(stage.folder / "both.witness")].count("begun") == 1


def test_a_dead_holder_does_not_keep_its_run_until_the_lease_is_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s", CollectorShape(lease_s=60.0))
    try:
        stage.start_all()
        request = stage.pause("agent-next", "llm", 2)
        agent = stage.start_agent("next", "single", 3)
        assert wait_until(lambda: request.reached, 20)
        stage.kill({"agent"}, [agent])
        request.withdraw()
        began_s = time.monotonic()
        play(stage, RunPlan("next", "single", 3, ()))
        assert time.monotonic() - began_s < 20
    finally:
        stage.close()


@pytest.mark.parametrize("paused_at", ["intent.asked", "between"])
def test_a_process_frozen_past_its_lease_starts_no_effect_when_it_wakes(stage: Stage, paused_at: str) -> None:
    request = stage.pause("agent-frozen", paused_at, 1)
    first = stage.start_agent("frozen", "single", 3)
    assert wait_until(lambda: request.reached, 20)
    os.killpg(first.process.pid, signal.SIGSTOP)
    request.withdraw()
    time.sleep(2.5)  # past the lease; nothing but time ends it
    play(stage, RunPlan("frozen", "single", 3, ()))
    tries_before = {
        name: ledger.read(stage.folder / f"{name}.ledger").tries for name in ("pay_fail", "pay_retry", "pay_probe")
    }

    os.killpg(first.process.pid, signal.SIGCONT)

    assert wait_until(lambda: first.ended, 20)
    assert first.process.returncode == 5
    stopped = [line for line in read_witness(stage.folder / "frozen.witness") if line.what == "stopped"]
    assert stopped[-1].name == "LeaseLost"
    tries_after = {name: ledger.read(stage.folder / f"{name}.ledger").tries for name in tries_before}
    assert tries_after == tries_before
    assert "Start the program again" in stage.said("frozen")


def test_what_a_frozen_process_had_done_settles_its_node_when_it_wakes(tmp_path: Path) -> None:
    TRIALS["late facts"](tmp_path / "s", False)


def test_without_its_own_clock_the_collectors_fencing_still_refuses_it(tmp_path: Path) -> None:
    TRIALS["fencing"](tmp_path / "s", False)


def test_a_second_collector_is_refused_and_told_who_serves_the_home(stage: Stage) -> None:
    (pid,) = stage.pids("collector")

    second = subprocess.run(
        [sys.executable, "-m", "livespan.collector", "serve", "--home", str(stage.home.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
    )

    assert second.returncode == 5
    assert f"pid {pid} serves this home already" in second.stderr
    assert "livespan stop" in second.stderr
    assert stage.pids("collector") == [pid], "the first goes on"
    play(stage, RunPlan("unharmed", "single", 3, ()))
