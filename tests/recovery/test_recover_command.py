"""`livespan recover` after agents that were really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.livespan_home import LiveHome, wait_until

from livespan.replay.testing import ledger

pytestmark = pytest.mark.crash

AGENT = ("-m", "tests.recovery.dying_agent")
CHARGES = [100, 101, 102, 103]


def begin(home: LiveHome, folder: Path, project: str, run_id: str, mode: str, **names: str) -> int:
    """Run an agent to its death and return how it ended."""
    told = {"LIVESPAN_RUN_ID": run_id, "LIVESPAN_PROJECT": project, **names}
    process = home.start(*AGENT, mode, str(folder), environment=told)
    process.communicate(timeout=60)
    return process.returncode


def recover(home: LiveHome, project: str, *words: str) -> subprocess.CompletedProcess[str]:
    process = home.start("-m", "livespan.collector", "recover", "--backoff-s", "0.05", "--project", project, *words)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {one["run_id"]: one for one in json.loads(done.stdout)}


def charged(folder: Path, run_id: str) -> list[int]:
    return [charge.cents for charge in ledger.read(folder / f"{run_id}.ledger").tries if charge.charged]


def test_three_killed_agents_finish_and_charge_once_each(shared: LiveHome, tmp_path: Path) -> None:
    project = "three"
    for run_id, mode in [("a", "once"), ("b", "each-life"), ("c", "once")]:
        assert begin(shared, tmp_path, project, run_id, mode) == -signal.SIGKILL
    assert begin(shared, tmp_path, project, "done", "well") == 0

    done = recover(shared, project, "--all", "--jobs", "3", "-o", "json")

    results = told(done)
    assert done.returncode == 0, done.stderr
    assert list(results) == ["a", "b", "c"], "the oldest first, and only what was interrupted"
    assert {(one["was"], one["outcome"]) for one in results.values()} == {("interrupted", "recovered")}
    assert [results[run_id]["lives"] for run_id in "abc"] == [1, 4, 1]
    assert [charged(tmp_path, run_id) for run_id in "abc"] == [CHARGES] * 3
    again = recover(shared, project, "--all")
    assert (again.returncode, again.stdout) == (0, "")
    assert "Nothing is interrupted." in again.stderr


def test_a_run_in_doubt_is_skipped_with_what_to_do(shared: LiveHome, tmp_path: Path) -> None:
    begin(shared, tmp_path, "doubtful", "x", "in-effect")
    begin(shared, tmp_path, "doubtful", "y", "once")

    done = recover(shared, "doubtful", "--all")

    assert done.returncode == 5
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["RUN", "WAS", "NOW", "LIVES", "WHY"]
    assert lines[1].split()[:5] == ["x", "in", "doubt", "skipped", "0"]
    assert lines[2].split() == ["y", "interrupted", "recovered", "1"]
    assert "livespan resolve x NODE" in done.stderr
    assert charged(tmp_path, "x") == CHARGES[:2], "it was not started"
    assert charged(tmp_path, "y") == CHARGES


def test_a_run_whose_tool_may_be_asked_again_is_recovered_on_demand(shared: LiveHome, tmp_path: Path) -> None:
    begin(shared, tmp_path, "asked", "x", "retried")
    assert recover(shared, "asked", "x", "-o", "json").returncode == 5

    done = recover(shared, "asked", "x", "--in-doubt", "-o", "json")

    assert (done.returncode, told(done)["x"]["outcome"]) == (0, "recovered")
    assert charged(tmp_path, "x") == CHARGES


def test_what_its_program_ended_by_an_error_is_started_where_it_is_named(shared: LiveHome, tmp_path: Path) -> None:
    begin(shared, tmp_path, "errors", "x", "raises")
    assert told(recover(shared, "errors", "--all", "-o", "json")) == {}

    done = recover(shared, "errors", "x", "-o", "json", "--same-place", "2")

    one = told(done)["x"]
    assert (done.returncode, one["was"], one["outcome"], one["name"]) == (1, "failed", "gave_up", "CrashLoop")


def test_runs_that_are_done_or_running_are_said_so(shared: LiveHome, tmp_path: Path) -> None:
    begin(shared, tmp_path, "named", "done", "well")
    names = {"LIVESPAN_RUN_ID": "busy", "LIVESPAN_PROJECT": "named"}
    busy = shared.start(*AGENT, "waits", str(tmp_path), environment=names)
    wait_until((tmp_path / "pid").exists)
    try:
        results = told(recover(shared, "named", "done", "busy", "-o", "json"))
    finally:
        (tmp_path / "go").touch()
        busy.communicate(timeout=60)
    assert (results["done"]["outcome"], results["done"]["exit_code"]) == ("finished", 0)
    assert (results["busy"]["outcome"], results["busy"]["name"]) == ("skipped", "RunHeld")
    assert f"pid {busy.pid}" in results["busy"]["reason"]


def test_a_cancelled_run_is_not_gone_on_with_by_either_command(shared: LiveHome, tmp_path: Path) -> None:
    begin(shared, tmp_path, "ended", "off", "each-life")
    program = [sys.executable, *AGENT, "each-life", str(tmp_path)]
    home = ("--project", "ended")
    cancelled = shared.start("-m", "livespan.collector", "cancel", "off", *home)
    cancelled.communicate(timeout=60)
    assert cancelled.returncode == 0

    results = told(recover(shared, "ended", "off", "-o", "json"))
    run = shared.start("-m", "livespan.collector", "run", "--backoff-s", "0.05", "--id", "off", *home, "--", *program)
    _, err = run.communicate(timeout=60)

    one = results["off"]
    assert (one["was"], one["outcome"], one["name"], one["exit_code"]) == ("cancelled", "skipped", "RunCancelled", 5)
    assert run.returncode == 5, err
    assert "livespan: run off: RunCancelled: the run was cancelled (cancel by " in err
    assert "; restart " not in err
    assert "Start it again" not in err, "the same command would be refused again"
    assert charged(tmp_path, "off") == CHARGES[:1], "it charged in its first life alone"


def test_an_agent_is_started_in_its_folder_and_missed_names_are_told(shared: LiveHome, tmp_path: Path) -> None:
    source = (
        "import os, livespan.instrumentation as ls\n"
        "here = os.getcwd(); os.chdir('/')\n"
        "@ls.step\n"
        "def think() -> str:\n"
        "    return here\n"
        "with ls.run() as run:\n"
        "    think()\n"
        "    if run.attempt == 1: os.kill(os.getpid(), 9)\n"
        "open(os.path.join(here, 'done'), 'w').write(here)\n"
    )
    (tmp_path / "agent.py").write_text(source)
    secret = "a value that is nowhere recorded"
    environment = {**os.environ, "LIVESPAN_HOME": str(shared.home.root), "LIVESPAN_PROJECT": "away"}
    killed = subprocess.run(
        [sys.executable, "agent.py"],
        cwd=tmp_path,
        env={**environment, "LIVESPAN_RUN_ID": "x", "SHOP_API_KEY": secret},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL

    done = recover(shared, "away", "--all", "-o", "json")

    one = told(done)["x"]
    assert one["outcome"] == "recovered", done.stderr
    assert (tmp_path / "done").read_text() == str(tmp_path)
    assert one["cwd"] == str(tmp_path)
    assert one["argv"] == [sys.executable, "agent.py"]
    assert one["missing_environment"] == ["SHOP_API_KEY"]
    assert "run x: not set now, as they were then: SHOP_API_KEY" in done.stderr
    assert secret not in done.stdout + done.stderr


def test_what_was_read_from_standard_input_is_left_to_people(shared: LiveHome, tmp_path: Path) -> None:
    process = shared.start("-", environment={"LIVESPAN_RUN_ID": "x", "LIVESPAN_PROJECT": "typed"})
    source = "import os, livespan.instrumentation as ls\nwith ls.run(): os.kill(os.getpid(), 9)\n"
    process.communicate(source, timeout=60)

    done = recover(shared, "typed", "--all", "-o", "json")

    one = told(done)["x"]
    assert (done.returncode, one["outcome"], one["lives"]) == (1, "skipped", 0)
    assert "standard input" in one["reason"]
    assert "LIVESPAN_RUN_ID=x" in one["hint"]


def test_sigterm_ends_what_runs_and_starts_nothing_more(shared: LiveHome, tmp_path: Path) -> None:
    for run_id in ("x", "y"):
        names = {"LIVESPAN_RUN_ID": run_id, "LIVESPAN_PROJECT": "halt"}
        agent = shared.start(*AGENT, "waits", str(tmp_path), environment=names)
        wait_until((tmp_path / "pid").exists)
        agent.kill()
        agent.communicate()
        (tmp_path / "pid").unlink()
    process = shared.start("-m", "livespan.collector", "recover", "--all", "--project", "halt", "-o", "json")
    wait_until((tmp_path / "pid").exists)
    process.terminate()
    out, err = process.communicate(timeout=60)
    results = {one["run_id"]: one for one in json.loads(out)}
    assert (tmp_path / "signals").read_text().split() == [str(int(signal.SIGTERM))], err
    assert [results[run_id]["outcome"] for run_id in "xy"] == ["ended", "ended"]
    assert (results["y"]["lives"], results["y"]["exit_code"]) == (0, 143)
    assert process.returncode == 143


@pytest.mark.parametrize(("words", "code"), [((), 2), (("x", "--all"), 2), (("nobody",), 3)])
def test_what_is_asked_wrongly_is_refused(shared: LiveHome, words: tuple[str, ...], code: int) -> None:
    assert recover(shared, "none", *words).returncode == code
