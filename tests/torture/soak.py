"""The soak: agents at a steady pace, a collector that is killed every 20 seconds, and a look at memory and disk.

Compared at the end: each answer that the agent saw with the Parquet files, by digest, in plain DuckDB. Memory is what
collector and drain have of their own (RssAnon; pages of the mapped spool are the page cache's), in the second fifth of
the run against its last two. A collector is a new process in each life, and swells up to each publication: the most
that each was, the median over those lives. The drain is one process for all of the run, and swells with the backlog
that a kill leaves, which is as long as the machine takes to start a collector: the median of all looks. The first kill
lasts for a while, so that the drain has met as large a backlog as it takes in at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final

import duckdb
from tests.crash.stage import ROOT, CollectorShape, Stage, TrialError

__all__ = ["SoakReport", "faults_of", "soak"]

_KILL_EVERY_S: Final = 20.0
_FIRST_KILLS_S: Final = (2.0, 8.0, 11.0)
_FIRST_OUTAGE_S: Final = 4.0
_LOOK_S: Final = 0.25
_LEAST_SHARE: Final = 0.96
"""Of the nodes that are asked for: what an agent with this pace comes to on a busy machine."""
_MOST_LOG_MB: Final = 512
_LONG_S: Final = 60.0
_SHAPE: Final = CollectorShape(segment_bytes=16 << 20, publish_s=1.0, alone=True)
"""Small and often, so that the log is as long as it gets, and the first merges were done, by a fifth of a minute."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a process of a role had at a moment after the start, in the collector's life of that number."""

    at_s: float
    life: int
    role: str
    own_mb: float


@dataclass(slots=True)
class SoakReport:
    """What a soak found. Sizes in MB."""

    seconds: float = 0.0
    rate: float = 0.0
    kills: int = 0
    nodes: int = 0
    missing: int = 0
    doubled: int = 0
    early_mb: dict[str, float] = field(default_factory=dict[str, float])
    late_mb: dict[str, float] = field(default_factory=dict[str, float])
    most_mb: dict[str, float] = field(default_factory=dict[str, float])
    log_mb: float = 0.0
    spool_mb: float = 0.0


def soak(folder: Path, seconds: float, rate: float) -> SoakReport:
    """Play it.

    Args:
        folder: an empty one.
        seconds: how long the agent goes on.
        rate: nodes a second.

    Raises:
        TrialError: the agent, the drain or the collector did not come to its end.
    """
    report = SoakReport(seconds=seconds, rate=rate)
    stage = Stage(folder, _SHAPE)
    witness = folder / "soak.witness"
    try:
        stage.start_all()
        words = ["--home", str(stage.home.root), "--witness", str(witness), "--seconds", str(seconds)]
        agent = stage.launch("tests.torture.soak_agent", "soak", [*words, "--rate", str(rate)])
        _watch(stage, agent, seconds, report)
        if agent.wait(60) != 0:
            raise TrialError(f"the agent ended with {agent.returncode}: {stage.said('soak')}")
        stage.drain_to_the_end()
        stage.wait_for_collector()
        stage.stop_collector()
        _compare(stage, witness, report)
    finally:
        stage.close()
    return report


def faults_of(report: SoakReport) -> list[str]:
    """Return what is wrong with a soak: records, pace, kills, and, where it was long enough to tell, memory."""
    faults: list[str] = []
    if report.missing or report.doubled:
        faults.append(f"{report.missing} missing, {report.doubled} doubled")
    if report.nodes < _LEAST_SHARE * report.rate * report.seconds:
        faults.append(f"{report.nodes} nodes in {report.seconds} s")
    if report.kills < len(_FIRST_KILLS_S):
        faults.append(f"{report.kills} kills")
    if report.log_mb > _MOST_LOG_MB:
        faults.append(f"the log took {report.log_mb} MB")
    if report.seconds >= _LONG_S:
        early, late = report.early_mb, report.late_mb
        faults += [f"{role}: {early[role]} MB, then {late[role]}" for role in early if late[role] > 1.1 * early[role]]
    return faults


def _watch(stage: Stage, agent: subprocess.Popen[bytes], seconds: float, report: SoakReport) -> None:
    """Kill the collector every 20 s and note what the processes hold, until the agent ends."""
    began_s = time.monotonic()
    kills_s = [began_s + at_s for at_s in _FIRST_KILLS_S]
    looks: list[_Look] = []
    while agent.poll() is None:
        now_s = time.monotonic()
        if now_s > began_s + 2 * seconds + 60:
            raise TrialError(f"the agent does not end: {stage.said('soak')}")
        if now_s >= kills_s[0]:
            kills_s = kills_s[1:] or [kills_s[0] + _KILL_EVERY_S]
            stage.kill(("collector",), ())
            if not report.kills:
                time.sleep(_FIRST_OUTAGE_S)
            stage.start_collector()
            report.kills += 1
        for role in ("collector", "drain"):
            looks += [_Look(now_s - began_s, report.kills, role, _own_mb(pid)) for pid in stage.pids(role)]
        report.log_mb = max(report.log_mb, _folder_mb(stage.home.log))
        report.spool_mb = max(report.spool_mb, _folder_mb(stage.home.spool))
        time.sleep(_LOOK_S)
    for role, measure in (("collector", _most), ("drain", _usual)):
        mine = [look for look in looks if look.role == role]
        report.early_mb[role] = measure(mine, seconds / 5, 2 * seconds / 5)
        report.late_mb[role] = measure(mine, 3 * seconds / 5, seconds)
        report.most_mb[role] = max(look.own_mb for look in mine)


def _most(looks: list[_Look], begin_s: float, end_s: float) -> float:
    """Return the most that a process had in a life of the collector, the median over those lives, of which the last is
    cut short, that were there between these moments.
    """
    lives = {look.life for look in looks if begin_s <= look.at_s <= end_s} - {looks[-1].life}
    return median(max(look.own_mb for look in looks if look.life == life) for life in lives)


def _usual(looks: list[_Look], begin_s: float, end_s: float) -> float:
    """Return what a process had between these moments, the median of all looks."""
    return median(look.own_mb for look in looks if begin_s <= look.at_s <= end_s)


def _compare(stage: Stage, witness: Path, report: SoakReport) -> None:
    seen = [line.split() for line in witness.read_text().splitlines()]
    with duckdb.connect() as connection:
        connection.execute((stage.home.lake / "views.sql").read_text())
        rows = connection.execute(
            "SELECT run_id, node_id, json_extract(input, '$.number')::INT, json_extract_string(output, '$') "
            "FROM nodes WHERE name = 'think'"
        ).fetchall()
    found: dict[tuple[str, int], str] = {}
    report.doubled = len(rows) - len({(run, node) for run, node, _, _ in rows})
    for run, _, number, text in rows:
        if number is None:
            continue  # its start was dropped, and nobody knows which it was
        report.doubled += (run, number) in found
        found[run, number] = sha256(text.encode()).hexdigest()
    report.nodes = len(seen)
    report.missing = sum(found.get((run, int(number))) != digest for run, number, digest in seen)


def _own_mb(pid: int) -> float:
    """Return the memory of a process that nothing on the disk stands behind; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024 / 1e6


def _folder_mb(folder: Path) -> float:
    done = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                done += os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return done / 1e6


def main() -> int:
    """Soak for as long as told: `python -m tests.torture.soak SECONDS RATE FOLDER`."""
    report = soak(Path(sys.argv[3]), float(sys.argv[1]), float(sys.argv[2]))
    print(report)
    return 1 if faults_of(report) else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
