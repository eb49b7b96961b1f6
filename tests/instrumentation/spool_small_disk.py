"""What the disk-full test starts in a mount namespace of its own. Argument: a folder to mount a tmpfs of 8 MB on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from livespan.instrumentation.spool import Refusal, Spool, list_writers
from livespan.proto.errors import SpoolFull

LARGE = 1 << 40


def fill(spool: Spool) -> int:
    count = 0
    while True:
        began_s = time.monotonic()
        try:
            spool.append(b"%d" % count, b"x" * 20_000, kind=1)
        except SpoolFull:
            assert time.monotonic() - began_s < 1
            return count
        count += 1


def main(disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    spool = Spool(disk / "spool", "fam", endpoint="", max_bytes_process=LARGE, max_bytes_home=LARGE)
    for _ in range(20):
        spool.append(b"started", kind=1, reserve=5_000)
    count = fill(spool)
    assert count > 200, count
    assert spool.refusals == {Refusal.DISK_FULL: 1}
    for _ in range(20):
        spool.append(b"", b"e" * 5_000, kind=2, consumes=5_000)
    try:
        spool.append(b"ended", b"e" * 5_000_000, kind=2, consumes=5_000)
    except SpoolFull:
        pass
    else:
        raise AssertionError("an end record larger than the disk cannot have been written")
    [folder] = list_writers(disk / "spool")
    got = list(folder.entries())
    assert len(got) == 20 + count + 20, len(got)
    # A second process finds no room either, and says so.
    try:
        Spool(disk / "spool", "fam", endpoint="", max_bytes_process=LARGE, max_bytes_home=LARGE)
    except SpoolFull:
        pass
    else:
        raise AssertionError("there was room for another writer")
    for entry in got:
        folder.advance(entry.end)
    folder.remove_finished()
    assert fill(spool) > 0
    spool.close()
    print("passed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
