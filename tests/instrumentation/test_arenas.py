"""Malloc's arenas: threads that come and go leave no more of them behind than two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import ctypes, re, sys, threading
from livespan.instrumentation.arenas import share_arenas
if {shared}:
    assert share_arenas()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
def work():
    held = [bytes(1000) for _ in range(100)]
    ready.wait()
ready = threading.Barrier(9)
threads = [threading.Thread(target=work) for _ in range(8)]
[each.start() for each in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
ready.wait()
[each.join() for each in threads]
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr", open(sys.argv[1]).read())))
"""


@pytest.mark.parametrize(("shared", "least", "most"), [(True, 1, 2), (False, 3, 99)])
def test_threads_share_two_arenas(tmp_path: Path, shared: bool, least: int, most: int) -> None:
    command = [sys.executable, "-c", _PROGRAM.format(shared=shared), str(tmp_path / "heaps.xml")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert least <= int(told.stdout) <= most
