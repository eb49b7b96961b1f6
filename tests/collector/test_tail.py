"""`livespan runs tail` as a process, beside runs that really happen."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from typing import Any

import pytest
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.collector.commands.tail import line
from livespan.collector.query.shapes import TailedRecord
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import RunStopped, Stop

TAIL = ("-m", "livespan.collector", "runs", "tail")


@ls.step
def think(number: int) -> int:
    return number


@ls.tool
def charge(cents: int) -> int:
    return cents


class Lines:
    """Lines of a stream of a process, each waited for."""

    def __init__(self, stream: Any) -> None:
        self._descriptor = stream.fileno()
        self._rest = b""

    def next(self) -> str:
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._descriptor], [], [], 20)
            assert ready, "no line came"
            data = os.read(self._descriptor, 65536)
            assert data, "the stream ended"
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\n")
        return one.decode()

    def until(self, wanted: str) -> list[str]:
        found: list[str] = []
        while not found or wanted not in found[-1]:
            found.append(self.next())
        return found


def follow(home: LiveHome, *words: str) -> tuple[subprocess.Popen[str], Lines, Lines]:
    process = home.start(*TAIL, *words)
    out, err = Lines(process.stdout), Lines(process.stderr)
    err.until("Ctrl-C ends it.")
    return process, out, err


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(20)


def test_a_live_run_is_seen_as_it_goes_on(shared: LiveHome) -> None:
    process, out, _ = follow(shared)
    with shared.run("seen"):
        think(1)
        charge(7)
        shown = out.until("charge  RUNNING")
        assert any("PROMPT      think  RUNNING" in one for one in shown), "while the run is open"
    shown += out.until("lease released")
    words = [one.split()[1:] for one in shown]
    for wanted in (["attempt", "attempt", "1"], ["PROMPT", "think", "SUCCESS"], ["TOOL", "charge", "SUCCESS"]):
        assert ["seen", *wanted] in words
    assert end(process) == 0


def test_one_run_is_followed_before_it_is_there(shared: LiveHome) -> None:
    process, out, _ = follow(shared, "wanted", "-o", "jsonl")
    with shared.run("another"):
        think(1)
    with shared.run("wanted"):
        think(2)
    records = [json.loads(one) for one in out.until("lease released")]
    assert {record["run_id"] for record in records} == {"wanted"}
    assert [record["status"] for record in records if record["name"] == "think"] == ["RUNNING", "SUCCESS"]
    assert end(process) == 0


def test_what_stopped_a_run_is_seen_with_the_end_of_its_lease(shared: LiveHome) -> None:
    process, out, _ = follow(shared, "-o", "json")
    with pytest.raises(RunStopped), shared.run("halted"):
        raise Stop("enough")
    told = json.loads(out.until("lease released")[-1])
    assert (told["status"], told["error_type"], told["error_message"]) == ("released", "Stop", "enough")
    assert end(process) == 0


def test_it_goes_on_with_the_next_collector(live: LiveHome) -> None:
    first = live.serve_process()
    process, out, err = follow(live)
    first.kill()
    first.wait(10)
    err.until("The collector has left")
    live.serve_process()
    err.until("Ctrl-C ends it.")
    with live.run("next"):
        think(1)
    assert any("next" in one for one in out.until("think  SUCCESS"))
    assert end(process) == 0


def test_without_a_next_collector_it_ends_with_exit_code_4(live: LiveHome) -> None:
    inside = live.serve()
    process, _, err = follow(live, "--wait-s", "0.3")
    inside.stop()
    err.until("no other came within 0.3 s")
    assert process.wait(20) == 4


def test_a_follower_does_not_keep_an_idle_collector(live: LiveHome) -> None:
    inside = live.serve(CollectorSettings(idle_s=0.2))
    process, _, _ = follow(live, "--wait-s", "0.1")
    wait_until(lambda: inside.ended)
    assert process.wait(20) == 4


def test_who_reads_no_more_ends_it(shared: LiveHome) -> None:
    process, _, _ = follow(shared)
    assert process.stdout is not None
    process.stdout.close()
    with shared.run("unread"):
        think(1)
    assert process.wait(20) == 141


def test_what_a_record_says_stays_on_its_line() -> None:
    record = TailedRecord(None, "p", "r\x1b[2J", "ended", "", "TOOL", "a\nb", "FAILED", "/", 1, 7, "E", "x\r" * 500)
    told = line(record)
    assert told.isprintable()
    assert len(told) < 200
