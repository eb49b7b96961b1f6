"""A process that appends until it is killed: `log_writer.py FOLDER ACKS SEED`; not a test.

Each acknowledged frame is written to ACKS as one line `<first_seq> <payload length>` before the next batch is made,
and each recycle as `recycle <below_seq>` before it is done.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

from livespan.collector.log import Appended, Committer, Outcome, open_log


def main(folder: Path, acks: Path, seed: int) -> None:
    coin = random.Random(seed)
    log = open_log(folder, segment_bytes=64 << 10)
    committer = Committer(log)
    out = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    room = threading.Semaphore(64)

    def done(outcome: Outcome) -> None:
        assert isinstance(outcome, Appended), outcome
        os.write(out, b"%d %d\n" % (outcome.first_seq, outcome.ref.length))
        room.release()

    while True:
        assert room.acquire(timeout=30)
        committer.submit(coin.randbytes(coin.randrange(0, 6000)), 1, None, done)
        if coin.random() < 0.02:
            below = log.next_seq - 100
            os.write(out, b"recycle %d\n" % below)
            log.recycle(below)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
