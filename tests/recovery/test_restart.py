from __future__ import annotations

import sys
from pathlib import Path

import pytest

from livespan.proto.v1.livespan_pb2 import Attempt
from livespan.recovery.supervision.restart import missing_names, obstacle


@pytest.mark.parametrize(
    "argv",
    [
        [sys.executable, "agent.py", "--fast"],
        [sys.executable, "-m", "shop.agent"],
        [sys.executable, "-c", "print(1)"],
        ["python3", "agent.py"],
        ["./agent"],
    ],
)
def test_a_whole_command_can_be_started_again(argv: list[str], tmp_path: Path) -> None:
    (tmp_path / "agent").touch(mode=0o700)
    (tmp_path / "agent.py").touch()
    assert obstacle(Attempt(argv=argv, cwd=str(tmp_path))) == ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "nothing is recorded"),
        ([sys.executable], "typed into"),
        ([sys.executable, "-"], "standard input"),
        ([sys.executable, "-c", "from multiprocessing.spawn import x", "--multiprocessing-fork"], "pool"),
        ([sys.executable, "-m", "ipykernel_launcher", "-f", "x.json"], "notebook"),
        (["/gone/python", "agent.py"], "program is gone"),
        (["./agent"], "program is gone"),
        ([sys.executable, "moved.py", "--fast"], "program is gone (moved.py)"),
    ],
)
def test_what_cannot_be_started_again_is_said(argv: list[str], said: str, tmp_path: Path) -> None:
    assert said in obstacle(Attempt(argv=argv, cwd=str(tmp_path)))


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    for cwd in (str(tmp_path / "gone"), ""):
        assert "its folder is gone" in obstacle(Attempt(argv=[sys.executable, "a.py"], cwd=cwd))


def test_names_that_are_gone_are_told_but_not_those_of_a_terminal() -> None:
    attempt = Attempt(environment=["API_KEY", "HOME", "LIVESPAN_RUN_ID", "SHLVL", "SSH_TTY", "_"])
    assert missing_names(attempt, {"HOME": "/root"}) == ["API_KEY"]
    assert missing_names(attempt, {"HOME": "/root", "API_KEY": "another"}) == []
