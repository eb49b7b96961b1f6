"""Homes on disks that are full or read-only: `unshare -rm python -m tests.crash.bad_disk full|read-only FOLDER`.

It runs in a mount namespace of its own, so that it can mount a small disk; the processes that it starts end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.crash.campaign import check_lake
from tests.crash.stage import ROOT, Agent, CollectorShape, Stage, wait_until
from tests.crash.trial import RunPlan, play
from tests.crash.witness import read_witness

_SIZE_KB = 48 << 10
_LEFT_KB = (1500, 700, 200, 64)


def full(folder: Path) -> None:
    """Fill the disk but for a last bit before each of several runs; free it; each must still come out right."""
    disk = folder / "home"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_KB}k,mode=0700", "tmpfs", str(disk)], check=True)
    stage = Stage(folder, CollectorShape(segment_bytes=64 << 10, publish_s=0.05))
    plans = [RunPlan(f"full{number}", "single", number, ()) for number in range(len(_LEFT_KB))]
    stopped: list[str] = []
    try:
        stage.start_all()
        play(stage, RunPlan("before", "single", 50, ()))
        for plan, left_kb in zip(plans, _LEFT_KB, strict=True):
            hog = disk / "hog"
            fill(hog, disk, left_kb)
            agent = stage.start_agent(plan.run, plan.shape, plan.seed)
            assert wait_until(partial(has_ended, agent), 60), f"{plan.run} hangs on a full disk"
            code = agent.process.returncode
            lines = read_witness(folder / f"{plan.run}.witness")
            assert code in (0, 5), f"{plan.run} ended with {code}: {stage.said(plan.run)}"
            if code == 5:
                stopped.append(lines[-1].name)
                assert "space" in stage.said(plan.run) or "room" in stage.said(plan.run), stage.said(plan.run)
            hog.unlink()
            play(stage, plan)
        problems, compared = check_lake(stage, [*plans, RunPlan("before", "single", 50, ())])
        assert not problems, problems
        print(f"stopped {stopped}, compared {dict(compared)}")
    finally:
        stage.close()


def has_ended(agent: Agent) -> bool:
    return agent.ended


def fill(hog: Path, disk: Path, left_kb: int) -> None:
    """Write a file that leaves `left_kb` of the disk."""
    with hog.open("wb") as file:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (left_kb << 10)) > 0:
            file.write(bytes(min(free, 1 << 20)))
            file.flush()


def read_only(folder: Path) -> None:
    """A home on a read-only mount, for an agent and for a collector."""
    disk = folder / "home"
    disk.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700,ro", "tmpfs", str(disk)], check=True)
    for command in (
        ["-m", "tests.crash.program", *f"--home {disk} --run r --shape single --seed 1 --folder {folder}".split()],
        ["-m", "livespan.collector", "serve", "--home", str(disk)],
    ):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
        )
        print(f"{command[1]}: {done.returncode}: {done.stderr.strip()}")
        assert done.returncode in (4, 5), done.stderr
        assert "LIVESPAN_HOME" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
    assert not [line for line in read_witness(folder / "r.witness") if line.what in ("returned", "entered")]


if __name__ == "__main__":
    {"full": full, "read-only": read_only}[sys.argv[1]](Path(sys.argv[2]))
