"""An agent whose effects fill the log: `python -m tests.crash.log_agent HOME LEDGER WITNESS`.

Each effect's start carries 12 KB. What came back is appended to the witness, one receipt a line, the number before it.
Printed is one JSON object: what stopped the run, with its hint. Exit code 5 where it was stopped.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import livespan.instrumentation as ls
from livespan.replay.testing import ledger

EFFECTS = 40
RUN = "costly"
_PADDING = "x" * 12 * 1024


@ls.tool
def pay(number: int, label: str, padding: str) -> dict[str, Any]:
    del label, padding
    return dict(ledger.charge(Path(sys.argv[2]), number, ls.idempotency_key(), honours_keys=False))


def main() -> int:
    """Run once."""
    witness = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    met: dict[str, Any] = {"attempt": 0, "stopped": "", "message": ""}
    try:
        with ls.run(RUN, home=sys.argv[1]) as run:
            met["attempt"] = run.attempt
            for number in range(EFFECTS):
                receipt = pay(number, f"effect{number}", _PADDING)["receipt"]
                os.write(witness, f"{number} {receipt}\n".encode())
    except ls.RunStopped as error:
        met["stopped"], met["message"] = type(error.cause).__name__, str(error.cause)
    print(json.dumps(met))
    return 5 if met["stopped"] else 0


if __name__ == "__main__":
    sys.exit(main())
