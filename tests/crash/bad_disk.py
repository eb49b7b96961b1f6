"""Homes on full or read-only disks: `unshare -rm python -m tests.crash.bad_disk full|full-log|read-only FOLDER [SEED]`.

It runs in a mount namespace of its own, so that it can mount a small disk; the processes that it starts end with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from tests.crash import log_agent
from tests.crash.campaign import check_lake
from tests.crash.stage import ROOT, Agent, CollectorShape, Stage, wait_until
from tests.crash.trial import RunPlan, play
from tests.crash.witness import read_witness

from livespan.replay.testing import ledger

_SIZE_KB = 48 << 10
_LEFT_KB = (1500, 700, 200, 64)
_LOG_KB = 1 << 10
_QUIET_LOOKS = 20
_LOOK_S = 0.1
_REFUSALS = {
    "SpoolFull": ("no room in the spool", "free disk space"),
    "EffectUnavailable": ("effect was not started", "disk"),
    "Unavailable": ("no space left", "free space"),
}
"""What may stop a run on a full disk: what it says, and what it says to do."""


def full(folder: Path, seed: int = 0) -> None:
    """Fill the disk but for a last bit before each of several runs; free it; each must still come out right."""
    disk = folder / "home"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_KB}k,mode=0700", "tmpfs", str(disk)], check=True)
    stage = Stage(folder, CollectorShape(segment_bytes=64 << 10, publish_s=0.05))
    plans = [RunPlan(f"full{number}", "single", 100 * seed + number, ()) for number in range(len(_LEFT_KB))]
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
                says(stage.said(plan.run), *_REFUSALS[lines[-1].name])
            else:
                # Of other seeds a small program may find what it needs in what was allocated before.
                assert seed or left_kb > min(_LEFT_KB), (
                    "with no room at all nothing can be recorded, and it must be said"
                )
            hog.unlink()
            play(stage, plan)
        problems, compared = check_lake(stage, [*plans, RunPlan("before", "single", 50, ())])
        assert not problems, problems
        print(f"stopped {stopped}, compared {dict(compared)}")
    finally:
        stage.close()


def full_log(folder: Path) -> None:
    """The log alone has no room for its next segment: effects are refused, then go on where they were."""
    disk = folder / "home" / "log"
    disk.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_LOG_KB}k,mode=0700", "tmpfs", str(disk)], check=True)
    stage = Stage(folder, CollectorShape(segment_bytes=64 << 10, publish_s=600))  # unpublished, no segment is freed
    book, witness = folder / "costly.ledger", folder / "costly.witness"
    try:
        stage.start_all()
        collectors = stage.pids("collector")
        fill(disk / "hog", disk, 0)
        code, met = costly(stage, book, witness)
        before = witness.read_text().splitlines()
        print(met["message"])
        assert (code, met["stopped"]) == (5, "EffectUnavailable"), met
        says(met["message"], "no segment can be made", "no space left on device", "free space on its disk")
        assert 0 < len(before) < log_agent.EFFECTS, "some went before, on the segments that there were"
        assert len(ledger.read(book).tries) == len(before), "the one that was refused was not begun"
        (disk / "hog").unlink()
        code, met = costly(stage, book, witness)
        assert (code, met["attempt"]) == (0, 2), met
        after = witness.read_text().splitlines()[len(before) :]
        assert after[: len(before)] == before, "what was acknowledged comes back as it was"
        assert len(after) == len(ledger.read(book).tries) == log_agent.EFFECTS, "and nothing was paid for twice"
        assert stage.pids("collector") == collectors, "the log went on by itself"
        check_costly(stage, after)
        print(f"compared {len(after)}, acknowledged before the log was full: {len(before)}")
    finally:
        stage.close()


def costly(stage: Stage, book: Path, witness: Path) -> tuple[int, dict[str, Any]]:
    """Run the agent of log_agent.py once; return its exit code and what it met."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.log_agent", str(stage.home.root), str(book), str(witness)],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def check_costly(stage: Stage, lines: list[str]) -> None:
    """Compare what the agent got with what the lake says."""
    stage.drain_to_the_end()
    stage.stop_collector()
    with duckdb.connect() as connection:
        connection.execute((stage.home.lake / "views.sql").read_text())
        sql = "SELECT input, output FROM effects WHERE run_id = ? AND status = 'SUCCESS' ORDER BY log_seq"
        rows = connection.execute(sql, [log_agent.RUN]).fetchall()
    found = [f"{json.loads(given)['number']} {json.loads(output)['receipt']}" for given, output in rows]
    assert found == lines, found


def says(text: str, *parts: str) -> None:
    """Check that a message holds these parts, in whatever case."""
    missing = [part for part in parts if part not in text.lower()]
    assert not missing, f"{missing} not in: {text}"


def has_ended(agent: Agent) -> bool:
    return agent.ended


def fill(hog: Path, disk: Path, left_kb: int) -> None:
    """Write a file that leaves `left_kb` of the disk, once nobody gives anything back any more: a collector may still
    publish, merge, and free what it has merged.
    """
    quiet = 0
    with hog.open("wb") as file:
        while quiet < _QUIET_LOOKS:
            status = os.statvfs(disk)
            free = status.f_bavail * status.f_frsize - (left_kb << 10)
            if free > 0:
                file.write(bytes(min(free, 1 << 20)))
                file.flush()
                quiet = 0
            else:
                quiet += 1
                time.sleep(_LOOK_S)


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
    if sys.argv[1] == "full":
        full(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    else:
        {"full-log": full_log, "read-only": read_only}[sys.argv[1]](Path(sys.argv[2]))
