"""Takes one protection away at a time, and asks whether the kill tests notice: `python -m tests.crash.mutants`.

Each protection has the smallest trial that must notice its absence. The trial runs twice, each time in a process of its
own: with everything in place it must pass, with the protection gone it must fail. Exit code 1 where a mutant survives,
or a trial fails that should not.

    commit word last        an append stands still in its middle while the drain reads; then the agent is killed
    barrier                 agent and drain killed in the effect, the spool lost with its host
    end spooled first       the agent is killed as soon as it has seen an effect return
    start acknowledged      an agent stands in an effect, and the drain may not send
    late facts              an agent frozen in an effect past its lease wakes up when another life has begun
    fencing                 the same, and it goes on to its next effect
    reuse number            a log recycled many times, its collector killed, opened again
    sync before ack         the power fails while requests are acknowledged
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.crash.campaign import check_lake
from tests.crash.power_trial import lives_and_cuts
from tests.crash.stage import ROOT, CollectorShape, Stage, TrialError, wait_until
from tests.crash.trial import Kill, RunPlan, check_started, play
from tests.crash.witness import Line, read_witness

from livespan.collector.log import LogProtections, open_log
from livespan.proto.errors import Damaged

CAUGHT: Final = 3
RUN: Final = "mutant"
_SMALL: Final = 64 << 10
_FAIL_FIRST: Final = 12
"""A seed whose first effect has the policy "fail"; `_wake_late` sees to it."""


def commit_word_last(folder: Path, mutated: bool) -> None:
    """Seen by: the drain passes over a record that is damaged for a moment, and the call's answer is gone."""
    stage = Stage(folder)
    without = "commit-first" if mutated else "pause-append"
    try:
        stage.start_all()
        request = stage.pause(f"agent-{RUN}", "append", 9)
        agent = stage.start_agent(RUN, "single", 1, without=without)
        _must(wait_until(lambda: request.reached, 10), "the append is not reached")
        time.sleep(1.5)  # the drain looks at least once a second
        damaged = stage.damaged_records()
        request.withdraw()
        _must(wait_until(lambda: len(_lines(stage)) > 12 or agent.ended, 10), "the agent does not go on")
        stage.kill({"agent"}, [agent])
        if damaged:
            raise TrialError(f"corrupt: {damaged[0]}")
        _finish_and_check(stage, 1)
    finally:
        stage.close()


def barrier(folder: Path, mutated: bool) -> None:
    """Seen by: an answer that the effect rests on is asked again, and the effect gets another key."""
    stage = Stage(folder)
    try:
        stage.start_all()
        held = stage.pause("drain", "drain.before_send", 1)
        request = stage.pause(f"agent-{RUN}", "effect.done", 1)
        agent = stage.start_agent(RUN, "single", _FAIL_FIRST, without="no-barrier" if mutated else "")
        _must(wait_until(lambda: request.reached, 15), "the effect is not reached")
        stage.kill({"agent", "drain"}, [agent])
        for asked in (held, request):
            asked.withdraw()
        shutil.rmtree(stage.home.spool)
        stage.home.create()
        _finish_and_check(stage, _FAIL_FIRST)
    finally:
        stage.close()


def end_spooled_first(folder: Path, mutated: bool) -> None:
    """Seen by: an effect that the program saw return is in doubt, or is made again."""
    _kill_at("after", folder, "late-end" if mutated else "")


def start_acknowledged(folder: Path, mutated: bool) -> None:
    """Seen by: the collector does not know of an effect that is running."""
    _kill_at("effect", folder, "start-spooled" if mutated else "")


def late_facts(folder: Path, mutated: bool) -> None:
    """Seen by: the effect, whose end came late, stays in doubt."""
    stage = Stage(folder, CollectorShape(lease_s=1.5, without="old-facts" if mutated else ""))
    try:
        stage.start_all()
        _wake_late(stage)
        doubts = _stops(stage, "InDoubt")
        stage.drain_to_the_end()
        _finish_and_check(stage, _FAIL_FIRST)
        if _stops(stage, "InDoubt") > doubts:
            raise TrialError("an effect that has told its end is in doubt all the same")
    finally:
        stage.close()


def fencing(folder: Path, mutated: bool) -> None:
    """Seen by: the life that has lost its lease starts another effect."""
    stage = Stage(folder, CollectorShape(lease_s=1.5, without="fencing" if mutated else ""))
    try:
        stage.start_all()
        first = _wake_late(stage, without="own-clock")
        late = [line for line in _lines(stage) if line.what == "entered" and line.life == first][1:]
        if late:
            raise TrialError(f"life {first} started {late[0].label} after it had lost its lease")
    finally:
        stage.close()


def reuse_number(folder: Path, mutated: bool) -> None:
    """Seen by: frames of a segment's former use are back when the log is opened."""
    without = "reuse-number" if mutated else ""
    stage = Stage(folder, CollectorShape(segment_bytes=_SMALL, publish_s=0.05, without=without))
    collector = frozenset({"collector"})
    plans: list[RunPlan] = []
    try:
        stage.start_all()
        while len(plans) < 15 and not _freed(stage):
            number = len(plans)
            plans.append(RunPlan(f"{RUN}{number}", "single", number, (Kill(collector),) if number == 1 else ()))
            play(stage, plans[-1])
            stage.drain_to_the_end()
            wait_until(lambda: bool(_freed(stage)), 1.0)
        _must(bool(_freed(stage)), "no log segment was recycled")
        stage.wait_for_collector()
        stage.kill(collector, ())
        freed = {int(path.stem.partition("-")[0]) for path in _freed(stage)}
        _must(bool(freed), "each segment that was freed is in use again")
        log = open_log(stage.home.log, segment_bytes=_SMALL, protections=LogProtections(reuse_number=not mutated))
        frames, damages = list(log.frames(1)), log.report.damages
        log.close()
        expected = frames[0].first_seq
        for frame in frames:
            if frame.ref.segment_id in freed:
                raise TrialError(f"record {frame.first_seq} is back from a segment that was freed")
            if frame.first_seq != expected:
                raise TrialError(f"record {frame.first_seq} stands where {expected} should")
            expected += frame.count
        if damages:
            raise TrialError(f"corrupt: {damages[0]}")
        stage.start_collector()
        problems, _ = check_lake(stage, plans)
        if problems:
            raise TrialError(str(problems[:3]))
    finally:
        stage.close()


def sync_before_ack(folder: Path, mutated: bool) -> None:
    """Seen by: what was acknowledged is not there after the cut."""
    lives_and_cuts(folder, [("log.after_write", 30), ("log.after_write", 25)], 1, without="sync" if mutated else "")


TRIALS: Final[dict[str, Callable[[Path, bool], None]]] = {
    "commit word last": commit_word_last,
    "barrier": barrier,
    "end spooled first": end_spooled_first,
    "start acknowledged": start_acknowledged,
    "late facts": late_facts,
    "fencing": fencing,
    "reuse number": reuse_number,
    "sync before ack": sync_before_ack,
}


def _kill_at(step: str, folder: Path, without: str) -> None:
    """Kill an agent at its first effect's `step` while the drain stands still; start it again, see it to its end."""
    stage = Stage(folder)
    try:
        stage.start_all()
        held = stage.pause("drain", "drain.before_send", 1)
        request = stage.pause(f"agent-{RUN}", step, 1)
        agent = stage.start_agent(RUN, "single", _FAIL_FIRST, without=without)
        _must(wait_until(lambda: request.reached, 15), f"{step} is not reached")
        check_started(stage, RUN)
        stage.kill({"agent"}, [agent])
        for asked in (held, request):
            asked.withdraw()
        _finish_and_check(stage, _FAIL_FIRST)
    finally:
        stage.close()


def _wake_late(stage: Stage, *, without: str = "") -> int:
    """Freeze an agent inside its first effect past its lease, let another life find the effect in doubt, wake the first
    until it ends; return its number.
    """
    request = stage.pause(f"agent-{RUN}", "effect.done", 1)
    first = stage.start_agent(RUN, "single", _FAIL_FIRST, without=without)
    _must(wait_until(lambda: request.reached, 15), "the effect is not reached")
    os.killpg(first.process.pid, signal.SIGSTOP)
    request.withdraw()
    _must(not wait_until(lambda: first.ended, 3.0), "the agent ended while it was frozen")
    second = stage.start_agent(RUN, "single", _FAIL_FIRST)
    _must(wait_until(lambda: second.ended, 20), "the second life does not end")
    _must(_stops(stage, "InDoubt") == 1, f"the second life was not stopped in doubt: {stage.said(RUN)}")
    os.killpg(first.process.pid, signal.SIGCONT)
    wait_until(lambda: first.ended, 5)
    stage.kill({"agent"}, [first])
    return 1


def _finish_and_check(stage: Stage, seed: int) -> None:
    """Start the run again, see it to its end, and compare what it saw with the lake."""
    plan = RunPlan(RUN, "single", seed, ())
    play(stage, plan)
    problems, _ = check_lake(stage, [plan])
    if problems:
        raise TrialError(str(problems[:3]))


def _freed(stage: Stage) -> list[Path]:
    """Return the log segments that were freed and not used since: all their frames are of their former use."""
    return [
        path for path in stage.home.log.glob("*.seg") if int(path.stem.partition("-")[2]) > _reuse_written(path) > 0
    ]


def _reuse_written(path: Path) -> int:
    """Return the reuse number in a segment's first frame, 0 where it has none or is gone (see the log's FORMAT.md)."""
    try:
        head = path.read_bytes()[24:28]
    except FileNotFoundError:
        return 0
    return int.from_bytes(head, "little")


def _lines(stage: Stage) -> list[Line]:
    return read_witness(stage.folder / f"{RUN}.witness")


def _stops(stage: Stage, name: str) -> int:
    return sum(line.what == "stopped" and line.name == name for line in _lines(stage))


def _must(held: bool, otherwise: str) -> None:
    """Say that the trial itself went wrong, which proves nothing either way."""
    if not held:
        raise RuntimeError(otherwise)


def one(name: str, mutated: bool) -> int:
    """Run one trial here; return 0 where it passes, CAUGHT where it fails."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        try:
            TRIALS[name](Path(folder), mutated)
        except (TrialError, Damaged) as error:
            print(str(error).partition("\n")[0][:160])
            return CAUGHT
    return 0


def judged(name: str, mutated: bool) -> tuple[int, str]:
    """Run one trial in a process of its own; return its exit code and what it said."""
    words = [sys.executable, "-m", "tests.crash.mutants", name, *(["--mutated"] if mutated else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=180, cwd=ROOT)
    said = done.stdout.strip().splitlines()
    return done.returncode, said[-1] if said else done.stderr.strip()[-300:]


def main(arguments: Sequence[str]) -> int:
    """Run all trials, or the one that is named; return the exit code."""
    if arguments:
        return one(arguments[0], "--mutated" in arguments)
    wanted = [(name, mutated) for name in TRIALS for mutated in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        names, mutations = zip(*wanted, strict=True)
        results = dict(zip(wanted, pool.map(judged, names, mutations), strict=True))
    survived = 0
    print(f"{'protection':<18} {'in place':<10} {'taken away':<12} noticed by")
    for name in TRIALS:
        (whole, said_whole), (gone, said_gone) = results[name, False], results[name, True]
        verdicts = "passes" if whole == 0 else f"FAILS ({whole})", "caught" if gone == CAUGHT else f"SURVIVES ({gone})"
        survived += whole != 0 or gone != CAUGHT
        print(f"{name:<18} {verdicts[0]:<10} {verdicts[1]:<12} {said_whole if whole else said_gone}")
    print(f"{len(TRIALS) - survived} of {len(TRIALS)} mutants are caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
