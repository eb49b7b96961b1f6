"""ENOSPC on a real small disk, mounted in a namespace of its own; what is played is tests/crash's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.crash.stage import ROOT

__all__ = ["on_a_full_disk"]


def on_a_full_disk(folder: Path, seed: int) -> str:
    """Play programs on a disk that is filled but for a last bit; return "" or what was wrong."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-m", "tests.crash.bad_disk", "full", str(folder), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=ROOT,
    )
    return "" if done.returncode == 0 else f"full disk, seed {seed}: {(done.stdout + done.stderr)[-2000:]}"
