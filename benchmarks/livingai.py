"""livingai, in an environment of its own under .make/, so that it never enters ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.stand import WORKING_FOLDER

__all__ = ["VERSION", "LivingAI", "install"]

VERSION: Final = "0.4.1"
_VENV: Final = WORKING_FOLDER.parent / f"livingai-{VERSION}"
_SAVER: Final = Path(__file__).with_name("livingai_saver.py")
_INSTALL_S: Final = 90.0


def install() -> str:
    """Make the environment where it is missing; return "" or why it cannot be had."""
    stamp = _VENV / ".installed"
    if stamp.exists():
        return ""
    try:
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True, capture_output=True, timeout=_INSTALL_S)
        subprocess.run(
            [str(_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", f"livingai=={VERSION}"],
            check=True,
            capture_output=True,
            timeout=_INSTALL_S,
        )
    except subprocess.CalledProcessError as error:
        words = bytes(error.stderr).decode(errors="replace").strip().splitlines()
        return f"livingai {VERSION} could not be installed: {words[-1] if words else error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"livingai {VERSION} could not be installed: {error}"
    stamp.touch()
    return ""


class LivingAI:
    """A process that saves when it is asked to. The owner closes it.

    Args:
        database: path of its SQLite file, or ":memory:".
        state_file: holds the state of each save.

    Attributes:
        missed: saves that were given up within its own budget of 50 ms.
    """

    def __init__(self, database: str, state_file: Path) -> None:
        self.missed = 0
        self._process = subprocess.Popen(
            [str(_VENV / "bin" / "python"), "-I", str(_SAVER), database, str(state_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def save_s(self) -> float:
        """Have one node saved; return how long that took inside the process.

        Raises:
            ChildProcessError: the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if len(answer) != 2:
            raise ChildProcessError("the livingai process has ended")
        self.missed += answer[1] == "0"
        return float(answer[0])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
