from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from livespan.instrumentation.started import command_line


def test_the_interpreters_own_path_stands_for_what_was_typed() -> None:
    assert command_line(["python", "a.py"], "/venv/bin/python") == ("/venv/bin/python", "a.py")
    assert command_line(["python", "-m", "a"], "") == ("python", "-m", "a")
    assert command_line([], "/venv/bin/python") == ()


def test_an_interpreter_found_by_path_is_recorded_whole(tmp_path: Path) -> None:
    source = "from livespan.instrumentation.started import STARTED as s\nimport os; os.chdir('/'); print(s.argv, s.cwd)"
    (tmp_path / "agent.py").write_text(source)
    beside = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["python", "-X", "dev", "agent.py", "two words"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = (f"{beside}/python", "-X", "dev", "agent.py", "two words")
    assert done.stdout == f"{expected} {tmp_path}\n"
