from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.instrumentation.spool_child import body_of

from livespan.instrumentation.spool import Entry, list_writers

CHILD = Path(__file__).with_name("spool_child.py")
RUN_S = (0.0, 0.01, 0.05, 0.15, 0.3)


def run_and_kill(tmp_path: Path, mode: str, run_s: float) -> tuple[Path, Path]:
    spool, ledgers = tmp_path / "spool", tmp_path / "ledgers"
    ledgers.mkdir()
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(spool), str(ledgers), mode],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not mode.startswith("fault:"):
            assert line == b"up\n"
            time.sleep(run_s)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        assert process.returncode == -signal.SIGKILL
    # The children that it forked were killed with it, and may take a moment longer.
    deadline_s = time.monotonic() + 10
    while any(writer.alive() for writer in list_writers(spool)):
        assert time.monotonic() < deadline_s, "a dead process's writer stays alive"
        time.sleep(0.002)
    return spool, ledgers


def read_all(spool: Path) -> dict[tuple[str, int], Entry]:
    found: dict[tuple[str, int], Entry] = {}
    for folder in list_writers(spool):
        last = 0
        for entry in folder.entries():
            assert entry.seq > last, "a writer's sequence rises"
            last = entry.seq
            found[folder.writer, entry.seq] = entry
    return found


def check(spool: Path, ledgers: Path) -> int:
    """Every append that had returned is there, and whatever is there is whole."""
    found = read_all(spool)
    for entry in found.values():
        assert entry.kind == 7
        assert entry.body == body_of(entry.head)
    assert len({entry.head for entry in found.values()}) == len(found)
    returned = 0
    for ledger in ledgers.iterdir():
        for line in ledger.read_bytes().split(b"\n")[:-1]:
            writer, seq = line.split()
            assert found[writer.decode(), int(seq)].head.startswith(ledger.name.encode())
            returned += 1
    return returned


@pytest.mark.parametrize("mode", ["single", "threads", "fork", "signal"])
def test_nothing_that_was_returned_is_lost_to_a_kill(tmp_path: Path, mode: str) -> None:
    total = most_writers = 0
    for trial, run_s in enumerate(RUN_S):
        folder = tmp_path / str(trial)
        folder.mkdir()
        total += check(*run_and_kill(folder, mode, run_s))
        writers = list_writers(folder / "spool")
        most_writers = max(most_writers, len(writers))
    assert total > 100
    assert most_writers >= (3 if mode == "fork" else 1)


def test_a_signal_handler_that_breaks_into_an_append_gets_a_writer_of_its_own(tmp_path: Path) -> None:
    spool, ledgers = run_and_kill(tmp_path, "signal", 0.5)
    assert check(spool, ledgers) > 100
    assert len(list_writers(spool)) >= 2


@pytest.mark.parametrize("point", ["prepared", "published", "sealed", "rolled"])
def test_a_kill_while_segments_change_loses_nothing(tmp_path: Path, point: str) -> None:
    spool, ledgers = run_and_kill(tmp_path, f"fault:spool.{point}", 0)
    assert check(spool, ledgers) > 0


def test_what_a_dead_process_left_is_cleared_away_once_acknowledged(tmp_path: Path) -> None:
    spool, _ = run_and_kill(tmp_path, "fork", 0.1)
    for folder in list_writers(spool):
        assert not folder.remove_finished()
        for entry in folder.entries():
            folder.advance(entry.end)
        assert folder.remove_finished()
    assert list_writers(spool) == []
