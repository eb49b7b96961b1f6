from __future__ import annotations

import json
from pathlib import Path

import pytest

from livespan.collector.cli import livespan, run_command
from livespan.instrumentation import framework_checks
from livespan.instrumentation.framework_checks import check_frameworks
from livespan.instrumentation.program_checks import check, look_at

AGENT = """
import livespan.instrumentation as ls
from livespan.instrumentation import tool
import cohere
from helpers import pay
from . import broken_relative

ls.instrument()

@ls.step
def think(): ...

@tool(in_doubt="retry")
def act(): ...

@other.tool
def not_ours(): ...

with ls.run("order-17"):
    pay.card()
"""


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("")
    (tmp_path / "helpers" / "pay.py").write_text("import stripe\nfrom langgraph.graph import StateGraph\n")
    return tmp_path / "agent.py"


def test_a_program_and_its_own_modules_are_read(agent: Path) -> None:
    look = look_at(agent)
    assert look.files == 3
    assert look.decorated == 2
    assert {"run", "instrument", "step", "tool"} <= look.names
    assert look.imports["stripe"] == f"{agent.parent}/helpers/pay.py:1"
    assert "langgraph.graph.StateGraph" in look.imports


def test_what_nothing_records_is_told_with_its_place(agent: Path) -> None:
    found = list(check(["python", "-X", "dev", str(agent), "--order", "17"]))
    unseen = [finding.detail for finding in found if finding.name == "not seen"]
    assert [detail.split(" (")[0] for detail in unseen] == ["cohere", "stripe"]
    assert f"{agent}:4" in unseen[0]
    assert [finding.detail for finding in found if finding.name == "seen"] == [
        "langgraph (graphs): recorded by ls.instrument()"
    ]
    assert all(finding.ok is not False for finding in found)


def test_a_framework_that_is_not_hooked_is_told_how_to(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import livespan.instrumentation as ls\nimport langgraph\nls.run('a')\n")
    [finding] = [finding for finding in check([str(tmp_path / "agent.py")]) if finding.name == "not seen"]
    assert "ls.instrument()" in finding.hint


def test_a_program_without_livespan_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import requests\n")
    found = {finding.name: finding for finding in check(["python", str(tmp_path / "agent.py")])}
    assert "nothing of it is recorded" in found["recording"].detail


def test_a_module_is_found_as_python_finds_it(agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = agent.parent / "bots"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("import redis\n")
    (package / "__main__.py").write_text("import boto3\n")
    monkeypatch.chdir(agent.parent)
    told = [finding.detail for finding in check(["python", "-m", "bots.one"])]
    assert any("redis" in detail for detail in told)
    told = [finding.detail for finding in check(["python3.12", "-u", "-m", "bots"])]
    assert any("boto3" in detail for detail in told)


def test_what_cannot_be_read_is_said_and_does_not_end_the_look(agent: Path) -> None:
    (agent.parent / "helpers" / "pay.py").write_text("def broken(:\n")
    found = [finding.detail for finding in check([str(agent)])]
    assert any("cannot be read as Python" in detail for detail in found)
    assert any("cohere" in detail for detail in found)


@pytest.mark.parametrize("words", [["python", "-c", "pass"], ["node", "agent.js"], ["python", "missing.py"]])
def test_no_python_file_is_worth_knowing_and_no_fault(words: list[str]) -> None:
    [finding] = check(words)
    assert (finding.ok, finding.hint != "") == (None, True)


def test_the_program_is_read_and_not_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    home = tmp_path / "home"
    words = ["doctor", "--home", str(home), "-o", "json", "--", "python", str(tmp_path / "agent.py"), "--home", "x"]
    assert run_command(livespan, words) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"program", "instrumentation", "collector"} <= {one["component"] for one in told}
    assert not (tmp_path / "ran").exists()
    assert not home.exists()


def test_frameworks_are_told_with_their_versions() -> None:
    found = {finding.name: finding for finding in check_frameworks()}
    assert found["frameworks"].ok
    assert "langgraph" in found["frameworks"].detail


def test_a_framework_of_another_version_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def known() -> list[tuple[str, tuple[str, ...]]]:
        return [("langgraph", ("langgraph >= 99",)), ("none", ("surely-not-installed >= 1",))]

    monkeypatch.setattr(framework_checks, "known_frameworks", known)
    first, second, *_ = check_frameworks()
    assert "Livespan needs langgraph >= 99" in first.detail
    assert "none that Livespan records" in second.detail
    assert framework_checks.instrumented_packages() == frozenset()
