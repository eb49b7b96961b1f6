from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.instrumentation.spooled import Answering, append, append_unreadable, damage, open_spool
from tests.livespan_home import LiveHome

from livespan.instrumentation.adoption import adopt
from livespan.instrumentation.spool import list_writers
from livespan.proto.errors import Unavailable


def leave_behind(folder: Path, *numbers: int) -> None:
    """Let a process write records and die."""
    child = os.fork()
    if not child:
        append(open_spool(folder, "dead"), "r", *numbers)
        os._exit(0)
    os.waitpid(child, 0)


def test_what_dead_writers_left_is_sent_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    living, told = open_spool(tmp_path), Answering()
    append(living, "r", 9)
    leave_behind(tmp_path, 1, 2)
    leave_behind(tmp_path, 3)
    assert adopt(tmp_path, told.client) == 3
    assert sorted(told.taken) == ["n1", "n2", "n3"]
    assert adopt(tmp_path, told.client) == 0
    living.close()


def test_nothing_is_lost_where_the_collector_is_away(tmp_path: Path) -> None:
    told = Answering(failure=Unavailable("away"))
    leave_behind(tmp_path, 1)
    with pytest.raises(Unavailable):
        adopt(tmp_path, told.client)
    told.failure = None
    assert adopt(tmp_path, told.client) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_a_refused_record_keeps_no_run_from_opening(tmp_path: Path, whole: bool) -> None:
    told = Answering({"n2"}, refuses_whole=whole)
    leave_behind(tmp_path, 1, 2, 3)
    adopt(tmp_path, told.client)
    assert {"n1", "n3"} <= set(told.taken)
    [kept] = (tmp_path / "refused").iterdir()
    assert b"n2" in kept.read_bytes()


def test_an_entry_that_is_no_record_is_kept(tmp_path: Path) -> None:
    told = Answering()
    spool = open_spool(tmp_path)
    append_unreadable(spool)
    append(spool, "r", 2)
    spool.close()
    assert adopt(tmp_path, told.client) == 1
    assert len(list((tmp_path / "refused").iterdir())) == 1


def test_what_stands_before_and_behind_a_damaged_record_is_sent(tmp_path: Path) -> None:
    told = Answering()
    leave_behind(tmp_path, *range(100, 110))
    damage(tmp_path, "n105")
    assert adopt(tmp_path, told.client) == 9
    assert told.taken == [f"n{number}" for number in range(100, 110) if number != 105]


def test_what_is_cleared_away_meanwhile_was_acknowledged_by_another(tmp_path: Path) -> None:
    told = Answering()
    leave_behind(tmp_path, 1)
    [folder] = list_writers(tmp_path)
    folder.close()
    (folder.path / "meta.json").rename(tmp_path / "gone")
    for path in folder.path.iterdir():
        path.unlink()
    folder.path.rmdir()
    assert adopt(tmp_path, told.client) == 0


LIFE = """
import os, signal
import livespan.instrumentation as ls
@ls.step
def think(number):
    return number * 2
with ls.run("order") as run:
    print([think(number) for number in range(200)][-1], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_opens_has_all_that_the_killed_life_had_spooled_though_no_drain_runs(live: LiveHome) -> None:
    live.serve()
    with open(live.home.drain_lock, "w") as lock:  # held, so that no drain starts
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert live.program(LIFE).stdout == "398\n"
        assert live.program(
            LIFE.replace("os.kill(os.getpid(), signal.SIGKILL)", "print(run.reused)")
        ).stdout.split() == [
            "398",
            "200",
        ]
