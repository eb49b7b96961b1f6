"""The process that the spool's kill tests start and kill. Arguments: spool folder, ledger folder, mode.

Each record's head says who appended it and how long its body is, and its body repeats its head, so that a reader can
tell a whole record by itself. What was returned goes to a ledger by `os.write`, which a SIGKILL does not take back.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from livespan.instrumentation.spool import Spool
from livespan.proto.errors import SpoolFull

SIZES = (0, 7, 900, 1000, 33, 50_000, 1000, 300_000, 12)


def body_of(head: bytes) -> bytes:
    size = int(head.rpartition(b":")[2])
    return (head * (size // len(head) + 1))[:size]


class Appender:
    def __init__(self, spool: Spool, ledgers: Path, name: str) -> None:
        self.spool = spool
        self.name = f"{os.getpid()}.{name}"
        path = ledgers / self.name
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        self.counter = itertools.count()

    def once(self, sizes: Sequence[int] = SIZES) -> None:
        count = next(self.counter)
        head = b"%s:%d:%d" % (self.name.encode(), count, sizes[count % len(sizes)])
        try:
            writer, seq = self.spool.append(head, body_of(head), kind=7)
        except SpoolFull:
            return  # a disk that is busy with others for longer than the budget: nothing was returned, nothing is owed
        os.write(self.fd, b"%s %d\n" % (writer.encode(), seq))

    def forever(self) -> None:
        while True:
            self.once()


def main(folder: Path, ledgers: Path, mode: str) -> None:
    victim = mode.removeprefix("fault:")
    reached = 0

    def fault(point: str) -> None:
        nonlocal reached
        if point == victim:
            reached += 1
            if reached == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    spool = Spool(folder, "kill", endpoint="unix:x", max_bytes_process=1 << 30, max_bytes_home=4 << 30, faults=fault)
    first = Appender(spool, ledgers, "main")
    first.once()
    if mode == "threads":
        for index in range(7):
            appender = Appender(spool, ledgers, str(index))
            threading.Thread(target=appender.forever, daemon=True).start()
    if mode == "fork":
        for index in range(3):
            appender = Appender(spool, ledgers, str(index))
            threading.Thread(target=appender.forever, daemon=True).start()
        for index in range(3):
            for _ in range(20):
                first.once()
            if os.fork() == 0:
                first = Appender(spool, ledgers, f"child{index}")
                break
    if mode == "signal":
        nested = Appender(spool, ledgers, "signal")

        def handler(number: int, frame: FrameType | None) -> None:
            try:
                nested.once(SIZES[:4])
            except SpoolFull as error:
                if "nested" not in str(error):
                    raise

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    os.write(1, b"up\n")
    first.forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
