"""`livespan demo` itself: it holds as it is shipped, and fails, saying why, when one protection is taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

PROMISED = {
    "agent",
    "crash_at",
    "policy",
    "charges",
    "charge_tries",
    "llm_calls_live",
    "llm_calls_ideal",
    "in_doubt",
    "recovered",
    "recover_ms",
}


@pytest.fixture
def home(tmp_path: Path) -> Generator[Path]:
    """A home that is gone afterwards: a log alone takes 130 MB."""
    yield tmp_path / "home"
    shutil.rmtree(tmp_path / "home", ignore_errors=True)


def run_demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "livespan.collector", "demo", "--home", str(home), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        # Settings that are meant for a user's own agents must not reach the demo's.
        env={**os.environ, "LIVESPAN_HOME": str(home / "not-this-one"), "LIVESPAN_IN_DOUBT": "retry"},
        check=False,
    )


def processes_of(home: Path) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(home) in words:
                found.append(words.replace("\0", " "))
    return found


def test_both_agents_keep_every_promise_wherever_they_are_killed(home: Path) -> None:
    done = run_demo(home, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    played: list[dict[str, Any]] = report["scenarios"]
    assert report["ok"] is True
    for scenario in played:
        assert scenario.keys() >= PROMISED
        assert scenario["charges"] == 1
        assert scenario["llm_calls_live"] == scenario["llm_calls_ideal"]
        assert scenario["recovered"] is True
    for agent in ("decorated", "langgraph"):
        kills = {(one["crash_at"], one["policy"]): one for one in played if one["agent"] == agent}
        assert kills.keys() >= {("before", "fail"), ("after", "fail"), ("never", "fail")}
        assert [kills["inside", policy]["charge_tries"] for policy in ("retry", "probe")] == [2, 1]
        first = next(one for one in played if one["agent"] == agent and one["scenario"] == "inside-fail")
        assert first["in_doubt"] is True
    names = {one["scenario"] for one in played}
    assert names >= {"answer", "all-killed", "new-pod", "frozen", "late-end", "late-conflict"}
    assert report["lake"]["ok"] is True
    assert report["lake"]["charges"] == len(played)
    assert processes_of(home) == []
    assert not (home / "not-this-one").exists()


@pytest.mark.parametrize(
    ("sabotage", "scenario", "reason"),
    [
        ("spool", "before", "the model was paid for 5 answers, not 3"),
        ("spool", "after", "the charge was in doubt where its outcome must have been known"),
        ("intent", "new-pod", "the card was charged 2 times, not once"),
        ("lease", "frozen", "the card was charged 2 times, not once"),
    ],
)
def test_without_one_protection_the_demo_fails_and_says_why(
    sabotage: str, scenario: str, reason: str, sabotaged: dict[str, subprocess.CompletedProcess[str]], home: Path
) -> None:
    if sabotage not in sabotaged:
        sabotaged[sabotage] = run_demo(home, "--sabotage", sabotage, "-o", "json")
    done = sabotaged[sabotage]
    assert done.returncode == 1, done.stdout + done.stderr
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert report["ok"] is False
    broken = {one["scenario"]: one["broken"] for one in report["scenarios"] if not one["ok"]}
    assert reason in broken[scenario]
    assert "undisturbed" not in broken  # it is the crash that shows what is missing


@pytest.fixture(scope="module")
def sabotaged() -> dict[str, subprocess.CompletedProcess[str]]:
    """What was played already, so that two questions about one sabotage play it once."""
    return {}


def test_a_person_is_shown_what_was_killed_what_came_of_it_and_what_to_try_next(home: Path) -> None:
    done = run_demo(home, "--agent", "decorated")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    for words in (
        "killed inside the charge",
        "the ledger has the charge: livespan resolve decorated-inside-fail-",
        "a second process was refused: it is run by pid ",
        "is shown as a CONFLICT",
        "All 12 scenarios kept their promises",
        f" runs list --home {home}",
    ):
        assert words in done.stdout
    assert not any(line.endswith("BROKEN") for line in done.stdout.splitlines())
