"""An agent that meets a full spool: `python -m tests.crash.narrow_agent HOME LEDGER`. It prints what it met as JSON.

Model calls with answers of 12 KB until the spool takes no more, a few more of them, a checkpoint, then an effect.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import livespan.instrumentation as ls
from livespan.instrumentation.session import SESSIONS
from livespan.proto.ids import trace_id
from livespan.replay.testing import ledger

ANSWER_BYTES = 12 * 1024
CALLS = 450


@ls.step
def think(number: int) -> str:
    return f"{number} " + os.urandom(ANSWER_BYTES // 2).hex()


@ls.tool
def pay(number: int) -> dict[str, Any]:
    return dict(ledger.charge(Path(sys.argv[2]), number, ls.idempotency_key(), honours_keys=False))


def main() -> int:
    """Run once; exit code 5 where the run was stopped."""
    met: dict[str, Any] = {"answers": 0, "longest_s": 0.0, "checkpoint": "", "stopped": ""}
    try:
        with ls.run("narrow", home=sys.argv[1]) as run:
            met["attempt"] = run.attempt
            for number in range(CALLS):
                began_s = time.monotonic()
                met["answers"] += bool(think(number))
                met["longest_s"] = max(met["longest_s"], time.monotonic() - began_s)
            met["unrecorded"] = sum(SESSIONS[trace_id("default", "narrow")].journal.unrecorded.values())
            try:
                ls.checkpoint(bytes(1 << 20))
            except ls.SpoolFull as error:
                met["checkpoint"] = str(error)
            met["receipt"] = pay(4200)["receipt"]
            met["reused"] = run.reused
    except ls.RunStopped as error:
        met["stopped"] = f"{type(error.cause).__name__}: {error}"
    print(json.dumps(met))
    return 5 if met["stopped"] else 0


if __name__ == "__main__":
    sys.exit(main())
