"""The example agent of the deployments: takes orders one by one, and goes on where it died.

LIVESPAN_HOME   the home that it shares with the sidecar
ORDERS          how many (3)
PAUSE_S         between two steps (1)
"""

from __future__ import annotations

import os
import time

import livespan.instrumentation as ls


@ls.step
def think(order: int) -> str:
    """Stand for a model call: answered from the record when the run is resumed."""
    return f"order {order} needs one charge"


@ls.tool
def charge(order: int) -> dict[str, str | int]:
    """Stand for an effect: never run twice unasked."""
    return {"order": order, "key": ls.idempotency_key()}


def main() -> None:
    """Take the orders in one run; each life goes on where the one before died."""
    pause_s = float(os.environ.get("PAUSE_S", "1"))
    with ls.run("example-orders"):
        for order in range(int(os.environ.get("ORDERS", "3"))):
            print(think(order), flush=True)
            time.sleep(pause_s)
            print("charged", charge(order)["order"], flush=True)


if __name__ == "__main__":
    main()
