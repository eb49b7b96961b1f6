"""An agent that dies as it is told: four thoughts and four charges, in a run that LIVESPAN_RUN_ID names.

python -m tests.recovery.dying_agent MODE FOLDER      the ledger is FOLDER/RUN.ledger

each-life     SIGKILL after the n-th charge of the n-th life      in-effect   SIGKILL in the second charge, once
retried       the same, of a tool that may be asked again         loop        exit code 3 before each third thought
raises        the third thought raises, in each life              once        SIGKILL after the second charge, once
changed       SIGKILL in its first life, another question after   after       exit code 4 when its run is done
unopened      exit code 1 before it opens its run                 usage       exit code 2 before it opens its run
no-collector  SIGKILL of the collector and itself, once           waits       until FOLDER/go is there, noting signals
stopped-well  as in-effect, and exit code 0 when it is stopped    well        nothing
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import livespan.instrumentation as ls
from livespan.proto.clock import wall_ns
from livespan.proto.home import Home
from livespan.proto.rendezvous import read_address
from livespan.replay.testing import ledger

mode, folder = sys.argv[1], Path(sys.argv[2])
run_id = os.environ["LIVESPAN_RUN_ID"]
life = [0]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@ls.step
def think(number: int) -> int:
    if mode == "raises" and number == 2:
        raise ValueError("no stock")
    return number


def pay(number: int) -> int:
    charge = ledger.charge(folder / f"{run_id}.ledger", 100 + number, ls.idempotency_key(), honours_keys=True)
    if mode in {"in-effect", "retried", "stopped-well"} and number == 1 and life[0] == 1:
        die()
    return charge["cents"]


charge_card = ls.tool(in_doubt="retry")(pay) if mode == "retried" else ls.tool(pay)


def note(number: int, _frame: FrameType | None) -> None:
    with (folder / "signals").open("a", encoding="ascii") as file:
        file.write(f"{number}\n")
    if number == signal.SIGTERM:
        sys.exit(0)


def wait_for_word() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, note)
    (folder / "pid").write_text(str(os.getpid()), encoding="ascii")
    while not (folder / "go").exists():
        time.sleep(0.01)


def work(run: ls.Run) -> None:
    life[0] = run.attempt
    if mode == "waits":
        wait_for_word()
    for number in range(4):
        if mode == "loop" and number == 2:
            os._exit(3)
        think(77 if mode == "changed" and run.attempt > 1 and number == 0 else number)
        charge_card(number)
        if (mode == "each-life" and run.attempt == number + 1) or (
            mode in {"changed", "once"} and run.attempt == 1 and number == 1
        ):
            die()
        if mode == "no-collector" and number == 1 and run.attempt == 1:
            address = read_address(Home(Path(os.environ["LIVESPAN_HOME"])))
            assert address is not None
            os.kill(address.pid, signal.SIGKILL)
            die()


with (folder / f"{run_id}.lives").open("a", encoding="ascii") as lives:
    lives.write(f"{wall_ns()}\n")
if mode in {"unopened", "usage"}:
    sys.exit(1 if mode == "unopened" else 2)
try:
    with ls.run() as opened:
        work(opened)
except ls.RunStopped:
    if mode != "stopped-well":
        raise
print("the agent's own word")
sys.exit(4 if mode == "after" else 0)
