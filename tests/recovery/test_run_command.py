"""`livespan run` with real programs that really die."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.livespan_home import ROOT, LiveHome, wait_until

from livespan.proto.process import start_time_ticks
from livespan.replay.testing import ledger

pytestmark = pytest.mark.crash

COMMAND = ("-m", "livespan.collector", "run", "--backoff-s", "0.05")
CHARGES = [100, 101, 102, 103]


class Desk:
    """A home, and a folder where agents leave what they did."""

    def __init__(self, home: LiveHome, folder: Path) -> None:
        self.home = home
        self.folder = folder

    def start(self, run_id: str, mode: str, *options: str) -> subprocess.Popen[str]:
        return self.home.start(*COMMAND, "--id", run_id, *options, "--", *self.agent(mode))

    def run(self, run_id: str, mode: str, *options: str) -> tuple[int, str, str]:
        process = self.start(run_id, mode, *options)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def agent(self, mode: str) -> list[str]:
        return [sys.executable, "-m", "tests.recovery.dying_agent", mode, str(self.folder)]

    def charged(self, run_id: str) -> list[int]:
        return [charge.cents for charge in ledger.read(self.folder / f"{run_id}.ledger").tries if charge.charged]

    def tries(self, run_id: str) -> int:
        return len(ledger.read(self.folder / f"{run_id}.ledger").tries)

    def lives(self, run_id: str) -> int:
        return len((self.folder / f"{run_id}.lives").read_text().splitlines())

    def signals(self) -> list[int]:
        file = self.folder / "signals"
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    def agent_pid(self) -> int:
        file = self.folder / "pid"
        wait_until(lambda: file.exists() and file.read_text())
        return int(file.read_text())


@pytest.fixture
def desk(shared: LiveHome, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(shared, tmp_path)
    pid = tmp_path / "pid"
    if pid.exists() and start_time_ticks(int(pid.read_text())):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def result(out: str) -> dict[str, Any]:
    return dict(json.loads(out))


def test_a_program_that_dies_in_each_life_finishes_and_charges_once_each(desk: Desk) -> None:
    code, out, err = desk.run("each", "each-life", "--max-restarts", "1")
    assert code == 0, err
    assert desk.charged("each") == CHARGES
    assert (desk.tries("each"), desk.lives("each")) == (4, 5), "it got on in each life, so no limit was met"
    restarts = [line for line in err.splitlines() if "; restart " in line]
    assert len(restarts) == 4, "one line for each restart"
    assert all(line.startswith("livespan: run each: killed by SIGKILL") for line in restarts)
    assert out == "the agent's own word\n"


def test_an_effect_in_doubt_stops_it_with_the_command_to_paste(desk: Desk) -> None:
    code, _, err = desk.run("doubt", "in-effect")
    assert code == 5
    assert desk.lives("doubt") == 2
    assert desk.charged("doubt") == CHARGES[:2]
    said = err.splitlines()
    assert any(line.startswith("livespan: run doubt: InDoubt: charge") or "InDoubt: pay" in line for line in said), err
    assert any("livespan resolve doubt " in line for line in said)
    assert said[-1].strip().startswith("Start it again: livespan run --id doubt -- ")


def test_a_tool_that_may_be_asked_again_needs_nobody(desk: Desk) -> None:
    code, _, err = desk.run("retried", "retried")
    assert code == 0, err
    assert desk.charged("retried") == CHARGES
    assert desk.tries("retried") == 5


def test_a_stop_is_seen_though_the_program_leaves_by_exit_code_0(desk: Desk) -> None:
    code, out, _ = desk.run("well", "stopped-well", "-o", "json")
    told = result(out)
    assert (code, told["outcome"], told["name"], told["lives"], told["finished"]) == (5, "stopped", "InDoubt", 2, False)
    assert "livespan resolve well " in told["hint"]


def test_a_changed_program_stops_it_at_once(desk: Desk) -> None:
    code, out, _ = desk.run("changed", "changed", "-o", "json")
    told = result(out)
    assert (code, told["name"], told["lives"]) == (6, "Divergence", 2)
    assert "first difference" in told["reason"]


@pytest.mark.parametrize(("mode", "place"), [("loop", "after TOOL pay"), ("raises", "in PROMPT think")])
def test_a_crash_loop_stops_before_the_limit_and_says_where(desk: Desk, mode: str, place: str) -> None:
    code, out, err = desk.run(mode, mode, "--max-restarts", "20", "--same-place", "3", "-o", "json")
    told = result(out)
    assert (code, told["outcome"], told["name"]) == (1, "gave_up", "CrashLoop"), err
    assert told["reason"].startswith(f"a crash loop: 3 lives ended {place}")
    # The first life got on; where its end is told of before its records are in, one more is needed.
    assert desk.lives(mode) in (3, 4)


def test_a_program_that_never_opens_its_run_is_a_crash_loop_too(desk: Desk) -> None:
    code, out, _ = desk.run("unopened", "unopened", "-o", "json")
    assert (code, result(out)["reason"].split(" (")[0], desk.lives("unopened")) == (
        1,
        "a crash loop: 3 lives ended before they opened the run",
        3,
    )


def test_a_wrong_call_is_not_repeated(desk: Desk) -> None:
    code, _, err = desk.run("usage", "usage")
    assert (code, desk.lives("usage")) == (2, 1)
    assert "called wrongly" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--id", "x"), "Missing argument"),
        (("--", "true"), "Missing option '--id'"),
        (("--id", "x", "--max-restart", "3", "--", "true"), "No such option"),
        (("--id", "a\nb", "--", "true"), "a run id is"),
    ],
)
def test_a_wrong_call_of_ours_starts_nothing(desk: Desk, words: tuple[str, ...], said: str) -> None:
    process = desk.home.start(*COMMAND, *words)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, said in err) == (2, True), err


def test_options_of_the_program_are_its_own(desk: Desk) -> None:
    source = "import sys; print(sys.argv[1:])"
    process = desk.home.start(*COMMAND, "--id", "own", sys.executable, "-c", source, "--id", "y", "--max-restarts")
    out, _ = process.communicate(timeout=60)
    assert out == "['--id', 'y', '--max-restarts']\n"


def test_a_program_that_is_not_there_is_said_so(desk: Desk) -> None:
    process = desk.home.start(*COMMAND, "--id", "none", "--", "/no/such/program")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "there is no such program" in err) == (3, True)


def test_what_fails_after_its_run_is_finished_is_not_started_again(desk: Desk) -> None:
    code, out, _ = desk.run("after", "after", "-o", "json")
    told = result(out)
    assert (code, told["name"], told["finished"], told["lives"]) == (1, "RunFinished", True, 1)


def test_without_restarts_the_first_crash_ends_it(desk: Desk) -> None:
    code, out, _ = desk.run("once", "each-life", "--max-restarts", "0", "-o", "json")
    assert (code, result(out)["lives"], desk.lives("once")) == (1, 1, 1)


def test_json_stands_alone_on_stdout(desk: Desk) -> None:
    code, out, err = desk.run("alone", "well", "-o", "json")
    assert (code, result(out)["outcome"]) == (0, "done")
    assert "the agent's own word" in err


def test_the_collectors_death_does_not_end_it(live: LiveHome, tmp_path: Path) -> None:
    desk = Desk(live, tmp_path)
    code, _, err = desk.run("bereft", "no-collector")
    assert code == 0, err
    assert desk.charged("bereft") == CHARGES
    assert desk.lives("bereft") == 2


def test_sigterm_passes_through_and_nothing_is_started_again(desk: Desk) -> None:
    process = desk.start("term", "waits", "-o", "json")
    desk.agent_pid()
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: desk.signals() == [signal.SIGUSR1])
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, result(out)["outcome"]) == (0, "ended"), "the program had ended well"
    assert desk.signals() == [signal.SIGUSR1, signal.SIGTERM]
    assert desk.lives("term") == 1


def test_a_signal_that_the_program_dies_of_is_in_the_exit_code(desk: Desk) -> None:
    process = desk.start("quit", "waits")
    pid = desk.agent_pid()
    process.send_signal(signal.SIGHUP)  # noted, and the program goes on
    wait_until(lambda: desk.signals() == [signal.SIGHUP])
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert (process.returncode, desk.lives("quit")) == (128 + signal.SIGHUP, 1)


def test_ctrl_c_at_a_terminal_reaches_the_program_once(desk: Desk) -> None:
    terminal, far_end = pty.openpty()
    words = [sys.executable, *COMMAND, "--id", "ctrl-c", "--", *desk.agent("waits")]
    process = subprocess.Popen(
        ["setsid", "--ctty", *words],
        stdin=far_end,
        stdout=far_end,
        stderr=far_end,
        cwd=ROOT,
        env={**os.environ, "LIVESPAN_HOME": str(desk.home.home.root)},
    )
    os.close(far_end)
    try:
        pid = desk.agent_pid()
        os.write(terminal, b"\x03")
        wait_until(desk.signals)
        (desk.folder / "go").touch()  # what a second one had to come before
        wait_until(lambda: not start_time_ticks(pid))
        assert process.wait(60) == 0
        assert desk.signals() == [signal.SIGINT]
        assert (desk.lives("ctrl-c"), desk.charged("ctrl-c")) == (1, CHARGES)
    finally:
        os.close(terminal)
        process.kill()
        process.wait(10)


def test_a_killed_supervisor_leaves_its_program_at_work_and_a_second_one_waits_its_turn(desk: Desk) -> None:
    first = desk.start("left", "waits")
    pid = desk.agent_pid()
    first.kill()
    first.wait(10)
    code, out, _ = desk.run("left", "waits", "-o", "json")
    told = result(out)
    assert (code, told["name"], told["lives"]) == (5, "RunHeld", 0)
    assert f"pid {pid}" in told["reason"]
    assert start_time_ticks(pid), "it is not killed with its supervisor"
    (desk.folder / "go").touch()
    wait_until(lambda: not start_time_ticks(pid))
    code, out, _ = desk.run("left", "waits", "-o", "json")
    assert (code, result(out)["finished"]) == (0, True)
    assert desk.charged("left") == CHARGES


def test_the_program_is_told_run_project_home_and_folder(desk: Desk) -> None:
    source = "import os; print(*(os.environ[n] for n in ('LIVESPAN_RUN_ID','LIVESPAN_PROJECT','LIVESPAN_HOME','PWD')))"
    process = desk.home.start(
        *COMMAND, "--id", "told", "--project", "p", "--cwd", str(desk.folder), "--", sys.executable, "-c", source
    )
    out, err = process.communicate(timeout=60)
    assert out.split() == ["told", "p", str(desk.home.home.root), str(desk.folder)]
    assert "has not opened this run" in err, "a program that names its run otherwise is told so"
