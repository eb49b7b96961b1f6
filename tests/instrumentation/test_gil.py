"""The agent's thread keeps the GIL through a step and a checkpoint: who lets go of it for an instant, again and again,
keeps every other thread waiting, as their five milliseconds of patience start anew each time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.livespan_home import wait_until

import livespan.instrumentation as ls
from livespan.proto.clock import random_id

_FOR_EVER_S = 100.0


class _Onlooker:
    """A thread that wants the GIL all the time, and counts how often it got it."""

    def __init__(self) -> None:
        self.turns = 0
        self._ended = False
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended:
            self.turns += 1
            time.sleep(0.0001)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended = True
        self._thread.join(10)


@contextmanager
def _onlooker() -> Generator[_Onlooker]:
    """Run one that is given the GIL by those alone who let go of it themselves."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_FOR_EVER_S)
    found = _Onlooker()
    found.start()
    try:
        time.sleep(0.01)
        yield found
    finally:
        found.end()
        sys.setswitchinterval(before_s)


@ls.step
def think(question: str) -> str:
    return "an answer"


def test_a_step_and_a_checkpoint_keep_the_gil(tmp_path: Path) -> None:
    with ls.run("r1", home=tmp_path):
        think("first")
        ls.checkpoint(b"first")
        wait_until(lambda: len(list(tmp_path.glob("spool/*/*.seg"))) == 2)  # the keeper has made its segment
        with _onlooker() as onlooker:
            before = onlooker.turns
            for _ in range(800):
                think("again")
                ls.checkpoint(b"state")
            # A finalizer of another test's leftovers lets go of it now and then; a system call in each did it 30 times
            # and more.
            assert onlooker.turns - before < 10


def test_a_fresh_id_keeps_the_gil_and_is_unlike_any_other() -> None:
    with _onlooker() as onlooker:
        before = onlooker.turns
        ids = {random_id() for _ in range(20_000)}
        assert onlooker.turns == before
    assert len(ids) == 20_000
    assert all(len(each) == 16 for each in ids)
