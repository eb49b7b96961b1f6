"""One life of a whole collector whose machine loses power: `python -m tests.crash.power_life --home H --witness W ...`.

    agent's thread ── Hold, Export, Intend, Close, Resolve ──▶ collector (log, publisher, lake) ──▶ ForgetfulDisk
          └─ after each acknowledgement: one line to the witness or to the acks, outside of that disk

At the chosen instant the disk forgets whatever was not synced: log, Parquet files, table log, names in folders. The
process is gone in the same moment, with every acknowledgement that had not arrived. What the agent does is
power_client.py's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.crash.power_acks import AckFile, read_acks
from tests.crash.power_client import PowerClient
from tests.crash.witness import Witness
from tests.power_cut import ForgetfulDisk

from livespan.collector.intake import Intake
from livespan.collector.listening import Listen
from livespan.collector.log import LogProtections
from livespan.collector.log.committer import Outcome
from livespan.collector.seams import Seams
from livespan.collector.server import Collector
from livespan.collector.settings import CollectorSettings
from livespan.proto.home import Home
from livespan.proto.rendezvous import locate

CUT = 77
"""Exit code: the power was cut, at the step or instant that was asked for."""
MISSED = 78
"""Exit code: the step was not reached."""
REFUSED = 79
"""Exit code: the collector refused, or had lost, something while the power was on."""
_ARRIVES_S = 0.03


class Power:
    """Cuts it, once: at the `nth` passing of a step, or when told.

    Args:
        at: a step; or "CALL:STEP", where it counts only while that call (hold, intend, close, resolve) is under way.

    Attributes:
        call: which is.
    """

    def __init__(self, disk: ForgetfulDisk, at: str, nth: int, keep: random.Random | None) -> None:
        self.call = ""
        self._disk = disk
        self._at = at
        self._left = nth
        self._keep = keep

    def passed(self, step: str) -> None:
        if self._at in (step, f"{self.call}:{step}"):
            self._left -= 1
            if self._left == 0:
                time.sleep(_ARRIVES_S)  # an answer that was sent too soon, before this step, arrives and is noted
                self.cut()

    def cut(self) -> NoReturn:
        self._disk.cut(self._keep)
        os._exit(CUT)


async def live(told: argparse.Namespace) -> None:
    """Serve until the power is cut; where it is not, say why by the exit code."""
    coin = random.Random(told.seed)
    home = Home(told.home)
    home.create()
    disk = ForgetfulDisk(home.root)
    power = Power(disk, told.at, told.nth, random.Random(told.seed) if told.keep else None)
    intends_here = counted_intends()
    collector = Collector(
        home,
        CollectorSettings(segment_bytes=64 << 10, publish_s=told.publish_s),
        Listen(socket=told.socket),  # outside of the disk that forgets: a socket is no file that can be read
        seams=Seams(
            disk=disk,
            faults=power.passed,
            log_protections=LogProtections(sync_before_ack=told.without != "sync"),
        ),
    )
    if told.at == "random":
        timer = threading.Timer(coin.uniform(0.02, 0.8), power.cut)
        timer.daemon = True
        timer.start()
    code = MISSED
    try:
        await collector.start()
        await asyncio.to_thread(talk, told, home, coin, power, intends_here)
    except BaseException:
        # A machine that is off refuses everything; one that is on must not.
        traceback.print_exc()
        code = REFUSED
    if disk.is_off:
        await asyncio.sleep(60)  # the thread that cuts ends this process
    os._exit(code)


def counted_intends() -> Callable[[], int]:
    """Count the starts of effects that are answered on their own socket; return how to ask for the number."""
    append_here = Intake.append_here
    count = 0

    def counted(
        intake: Intake, payload: bytes, admit: Callable[[], None] | None, answer: Callable[[Outcome], None]
    ) -> None:
        def answered(outcome: Outcome) -> None:
            nonlocal count
            count += 1
            answer(outcome)

        append_here(intake, payload, admit, answered)

    Intake.append_here = counted  # type: ignore[method-assign,assignment]  # a look into the collector, not a change
    return lambda: count


def talk(
    told: argparse.Namespace, home: Home, coin: random.Random, power: Power, intends_here: Callable[[], int]
) -> None:
    """Use the collector as an agent does, until the power goes or is long overdue."""
    address = locate(home)
    assert address is not None
    before = read_acks(told.acks)
    witness, acks = Witness(told.witness), AckFile(told.acks)

    def calling(call: str) -> None:
        power.call = call

    client = PowerClient(address.target, told.run, told.life, witness, acks, coin, calling, intends_here)
    overdue_s = time.monotonic() + told.overdue_s
    client.resume(before)
    while time.monotonic() < overdue_s:
        client.sit(coin.randrange(8, 25))


def main(arguments: Sequence[str]) -> int:
    """Live once; the exit code is CUT, MISSED or REFUSED."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--witness", type=Path, required=True)
    parser.add_argument("--acks", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--run", default="powerless")
    parser.add_argument("--life", type=int, default=1)
    parser.add_argument("--at", default="random")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish-s", type=float, default=0.03)
    parser.add_argument("--overdue-s", type=float, default=15.0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--without", default="")
    told: Any = parser.parse_args(arguments)
    asyncio.run(live(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
