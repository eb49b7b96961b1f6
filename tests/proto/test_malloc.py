"""What malloc keeps: no more arenas than were allowed, and nothing that is freed once it was given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import ctypes, re, sys, threading
from livespan.proto.malloc import share_arenas
if {shared}:
    assert share_arenas(2)
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


_FREED = """
import ctypes
from livespan.proto.malloc import give_back
def own_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:"))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(20_000) for _ in range(2000)]
for block in blocks:
    ctypes.memset(block, 1, 20_000)
for block in blocks[:-1]:  # the last one stays, at the heap's end
    libc.free(block)
freed = own_kb()
assert give_back()
print(freed - own_kb())
"""


def test_what_is_freed_below_a_block_that_stays_is_given_back() -> None:
    told = subprocess.run([sys.executable, "-c", _FREED], capture_output=True, text=True, check=True, timeout=30)
    assert int(told.stdout) > 30_000
