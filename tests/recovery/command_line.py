from __future__ import annotations

import pytest
from tests.livespan_home import LiveHome

from livespan.collector.cli import livespan, run_command


def command(live: LiveHome, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return a command's exit code, and what it printed to stdout and stderr."""
    capsys.readouterr()
    code = run_command(livespan, [*words, "--home", str(live.home.root)])
    out, err = capsys.readouterr()
    return code, out, err
