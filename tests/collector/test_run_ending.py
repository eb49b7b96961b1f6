"""Real runs that ended in each way, as `runs show` tells of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.livespan_home import Died, LiveHome

import livespan.instrumentation as ls
from livespan.collector.cli import livespan, run_command
from livespan.collector.query.shapes import RunDetail, ShownEnding
from livespan.collector.run_ending import ending_lines
from livespan.proto.errors import RunStopped

KILLED = """
import os, livespan.instrumentation as ls
with ls.run({run_id!r}) as r:
    ls.step(lambda: 1, name="think")()
    if r.attempt == {last}:
        raise SystemExit(0)
    os.kill(os.getpid(), 9)
"""


@ls.tool
def charge(cents: int) -> int:
    raise Died if cents else ValueError("no stock")


@ls.step
def think(about: str) -> str:
    return about


def shown(live: LiveHome, capsys: pytest.CaptureFixture[str], run_id: str) -> tuple[list[str], dict[str, Any] | None]:
    """Return the heading of a run as text, and its `ending` as JSON."""
    told: list[str] = []
    for form in ("text", "json"):
        capsys.readouterr()
        assert run_command(livespan, ["runs", "show", run_id, "--home", str(live.home.root), "-o", form]) == 0
        told.append(capsys.readouterr().out)
    ending: dict[str, Any] | None = json.loads(told[1])["run"]["ending"]
    return told[0].split("\n\n")[0].splitlines()[3:], ending


def ended_with(message: str) -> RunDetail:
    ending = ShownEnding(how="failed", at="", name="E", message=message)
    return RunDetail(
        run_id="a\nb", project="p", session="", tags={}, status="failed", nodes=0, effects=0, in_doubt=0,
        input_tokens=0, output_tokens=0, started_at=None, ended_at=None, attempts=1, ending=ending,
    )  # fmt: skip


def test_of_a_run_that_is_done_or_runs_nothing_is_said(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with shared.run("well"):
        think("a")
        assert shown(shared, capsys, "well") == ([], None)
    assert shown(shared, capsys, "well") == ([], None)


def test_a_run_that_stopped_in_doubt_says_so_until_it_is_settled(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with pytest.raises(RunStopped), shared.run("doubt"):
            charge(7)
    lines, ending = shown(shared, capsys, "doubt")
    assert ending is not None
    assert (ending["how"], ending["name"], ending["idle_attempts"]) == ("stopped", "InDoubt", 0)
    [line] = lines  # what to do about it stands below the tree
    assert line.startswith("attempt 2 was stopped 20")
    assert "by InDoubt: charge was started" in line
    node = ending["subject"].rpartition("/")[2]
    assert run_command(livespan, ["resolve", "doubt", node, "--done", "1", "--home", str(shared.home.root)]) == 0
    lines, _ = shown(shared, capsys, "doubt")
    assert lines[1] == "  What was in doubt is settled; start the program again, or:"
    assert lines[2].split("#")[0].strip() == f"livespan recover --home {shared.home.root} doubt"


def test_a_changed_program_is_told_with_the_first_difference(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    for about in ("a", "b"):
        with pytest.raises((RunStopped, KeyboardInterrupt)), shared.run("changed"):
            think(about)
            raise KeyboardInterrupt
    lines, ending = shown(shared, capsys, "changed")
    assert ending is not None
    assert ending["name"] == "Divergence"
    assert "first difference: " in lines[0]
    assert lines[1] == f"  {ending['hint']}"


def test_an_error_is_told_of_the_life_that_it_ended_alone(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no stock"), shared.run("failed"):
        raise ValueError("no stock")
    lines, ending = shown(shared, capsys, "failed")
    assert ending is not None
    assert ending["how"] == "failed"
    assert lines[0].endswith("with ValueError: no stock")
    with pytest.raises(SystemExit), shared.run("failed"):
        raise SystemExit(3)
    lines, ending = shown(shared, capsys, "failed")
    assert ending is not None
    assert ending["how"] == "left"
    assert lines[0].startswith("attempt 2 ended 20")


def test_a_cancelled_run_says_by_whom(shared: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), shared.run("cancelled"):
        raise KeyboardInterrupt
    assert run_command(livespan, ["cancel", "cancelled", "--home", str(shared.home.root)]) == 0
    [line], ending = shown(shared, capsys, "cancelled")
    assert ending is not None
    assert ending["how"] == "cancelled"
    assert "cancel by " in line


def test_lives_that_record_nothing_new_are_told_as_a_crash_loop(
    shared: LiveHome, capsys: pytest.CaptureFixture[str]
) -> None:
    for lives in (1, 2, 3, 4):
        shared.program(KILLED.format(run_id="loop", last=0))
        lines, ending = shown(shared, capsys, "loop")
        assert ending is not None
        # The first life has recorded a step; those after it are answered, and die in the same place.
        assert (ending["how"], ending["idle_attempts"]) == ("died", lives - 1)
        assert lines[0].endswith(": its process is gone")
        assert any("a crash loop: the last 3 attempts" in line for line in lines) == (lives == 4)


@pytest.mark.parametrize(("count", "said"), [(1, 1), (3, 3), (9, 9), (10, 10), (500, 10)])
def test_a_message_of_many_lines_keeps_them_up_to_a_bound(count: int, said: int) -> None:
    message = "\n \n".join(f"line {number}" for number in range(count))
    lines = list(ending_lines(ended_with(message)))
    assert lines[0] == "attempt 1 failed with E: line 0"
    assert lines[1:-1] == [f"  line {number}" for number in range(1, min(said, 9))] + ["  …"] * (said == 10)


def test_nothing_that_was_recorded_reaches_the_terminal_as_it_is() -> None:
    assert all(line.isprintable() for line in ending_lines(ended_with("\x1b[2J\nx\x07")))
