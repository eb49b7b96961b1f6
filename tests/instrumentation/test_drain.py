from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.instrumentation.spooled import Answering, append, append_refused, append_unreadable, damage, open_spool
from tests.livespan_home import LiveHome, wait_until

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.drain import Drain
from livespan.instrumentation.drain_process import drain_is_running, ensure_drain, main
from livespan.instrumentation.outbound import MAX_BATCH_SPANS
from livespan.instrumentation.spool import WakeSource, list_writers, wake
from livespan.proto.errors import Unavailable

drains: list[Drain] = []


@pytest.fixture(autouse=True)
def drains_are_closed() -> Iterator[None]:
    yield
    while drains:
        drains.pop().close()


def drain(folder: Path, told: Answering, leave_after_s: float = 60.0) -> Drain:
    drains.append(Drain(folder, lambda _endpoint: told.client, leave_after_s=leave_after_s))
    return drains[-1]


def unsent(folder: Path) -> int:
    found = 0
    for writer in list_writers(folder):
        found += sum(1 for _ in writer.entries(writer.watermark()))
        writer.close()
    return found


def test_what_is_acknowledged_is_not_sent_again(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    draining = drain(tmp_path, told)
    append(spool, "r", 1, 2)
    assert draining.once()
    append(spool, "r", 3)
    assert draining.once()
    assert not draining.once()
    assert told.taken == ["n1", "n2", "n3"]
    assert (draining.counts["acknowledged"], unsent(tmp_path)) == (3, 0)
    assert not drain(tmp_path, told).once()
    spool.close()


def test_records_go_in_requests_of_bounded_count_and_size_in_order(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    append(spool, "r", *range(1, 1500))
    append(spool, "r", 1500, 1501, 1502, body=bytes(2 << 20))
    drain(tmp_path, told).once()
    assert told.taken == [f"n{number}" for number in range(1, 1503)]
    assert [len(request) for request in told.requests] == [MAX_BATCH_SPANS, MAX_BATCH_SPANS, 476, 1, 1]
    spool.close()


def test_a_writer_that_is_done_is_cleared_away_once_all_is_acknowledged(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    append(spool, "r", 1)
    spool.close()
    draining = drain(tmp_path, told)
    assert draining.has_writers()
    draining.once()
    draining.once()
    assert not draining.has_writers()
    assert list_writers(tmp_path) == []


@pytest.mark.parametrize("whole", [False, True])
def test_a_record_that_is_refused_for_good_is_kept_and_the_others_are_sent(tmp_path: Path, whole: bool) -> None:
    spool, told = open_spool(tmp_path), Answering({"n2"}, refuses_whole=whole)
    append(spool, "r", 1, 2, 3)
    draining = drain(tmp_path, told)
    draining.once()
    assert {"n1", "n3"} <= set(told.taken)
    [kept] = (tmp_path / "refused").iterdir()
    assert kept.name == f"{spool.writer_id}-2"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"n2" in kept.read_bytes()
    assert (draining.counts["refused"], unsent(tmp_path)) == (1, 0)
    spool.close()


def test_an_entry_that_is_no_record_is_kept_and_the_others_are_sent(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    append(spool, "r", 1)
    append_unreadable(spool)
    append(spool, "r", 3)
    drain(tmp_path, told).once()
    assert told.taken == ["n1", "n3"]
    assert [kept.name for kept in (tmp_path / "refused").iterdir()] == [f"{spool.writer_id}-2"]
    spool.close()


def test_a_damaged_record_is_passed_over_after_what_stands_before_it_was_acknowledged(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    append(spool, "r", *range(100, 110))
    damage(tmp_path, "n105")
    draining = drain(tmp_path, told)
    while draining.once() or unsent_or_damaged(draining):
        pass
    assert told.taken == [f"n{number}" for number in range(100, 110) if number != 105]
    assert draining.counts["damaged"] == 1
    spool.close()


def unsent_or_damaged(draining: Drain) -> bool:
    before = draining.counts["damaged"]
    return draining.once() or draining.counts["damaged"] > before


def test_a_damaged_record_is_not_passed_over_while_what_stands_before_it_cannot_be_sent(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering(failure=Unavailable("away"))
    append(spool, "r", *range(100, 110))
    damage(tmp_path, "n105")
    draining = drain(tmp_path, told)
    draining.once()
    assert draining.counts["damaged"] == 0
    told.failure = None
    for _ in range(3):
        draining.once()
    assert told.taken == [f"n{number}" for number in range(100, 110) if number != 105]
    spool.close()


def test_nothing_is_lost_while_the_collector_is_away(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering(failure=Unavailable("away"))
    append(spool, "r", 1, 2)
    draining = drain(tmp_path, told)
    assert not draining.once()
    assert (draining.counts["failed_requests"], unsent(tmp_path)) == (1, 2)
    told.failure = None
    assert draining.once()
    assert told.taken == ["n1", "n2"]
    spool.close()


def test_a_drain_stays_while_a_writer_lives_and_leaves_when_none_does(tmp_path: Path) -> None:
    spool, told = open_spool(tmp_path), Answering()
    thread = threading.Thread(target=drain(tmp_path, told, leave_after_s=0.0).run)
    thread.start()
    append(spool, "r", 1)
    wait_until(lambda: told.taken == ["n1"])
    thread.join(0.1)
    assert thread.is_alive()
    append(spool, "r", 2)
    spool.close()
    thread.join(10)
    assert not thread.is_alive()
    assert told.taken == ["n1", "n2"]


def test_an_idle_drain_is_woken_by_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, told = open_spool(tmp_path), Answering()
    asleep = threading.Event()
    hours_s = iter([3600.0])
    sleep = WakeSource.sleep

    def for_an_hour_once(source: WakeSource, timeout_s: float, pending: Callable[[], bool]) -> bool:
        def asked() -> bool:
            asleep.set()  # a source asks once it has said that it sleeps
            return pending()

        return sleep(source, next(hours_s, timeout_s), asked)

    monkeypatch.setattr(wake, "MAX_SLEEP_S", 3600.0)
    monkeypatch.setattr(WakeSource, "sleep", for_an_hour_once)
    thread = threading.Thread(target=drain(tmp_path, told, leave_after_s=0.0).run)
    thread.start()
    assert asleep.wait(10)
    append(spool, "r", 1)
    wait_until(lambda: told.taken == ["n1"])
    spool.close()
    thread.join(10)


def test_a_real_collector_refuses_a_span_without_an_id_and_stores_the_others(live: LiveHome) -> None:
    target = live.serve().collector.target
    spool = open_spool(live.home.spool)
    append(spool, "r", 1)
    append_refused(spool, "r", 2)
    append(spool, "r", 3)
    draining = Drain(live.home.spool, lambda _endpoint: CollectorClient(target))
    draining.once()
    draining.close()
    assert sorted({record.name for record in live.records("r")}) == ["n1", "n3"]
    assert len(list((live.home.spool / "refused").iterdir())) == 1
    spool.close()


# The process.


def test_a_killed_drain_is_followed_by_another_that_sends_the_rest(live: LiveHome) -> None:
    live.serve()
    spool = open_spool(live.home.spool)
    append(spool, "r", 1)
    ensure_drain(live.home)
    wait_until(lambda: unsent(live.home.spool) == 0)
    live.kill("drain")
    wait_until(lambda: not drain_is_running(live.home))
    append(spool, "r", 2)
    ensure_drain(live.home)
    wait_until(lambda: unsent(live.home.spool) == 0)
    assert sorted({record.name for record in live.records("r")}) == ["n1", "n2"]
    spool.close()


def test_a_drain_without_a_collector_starts_one(live: LiveHome) -> None:
    spool = open_spool(live.home.spool)
    append(spool, "r", 1)
    ensure_drain(live.home)
    wait_until(lambda: unsent(live.home.spool) == 0)
    assert len(live.pids("collector")) == 1
    spool.close()


def test_there_is_one_drain_for_a_home(live: LiveHome) -> None:
    live.serve()
    spool = open_spool(live.home.spool)
    for _ in range(4):
        ensure_drain(live.home)
    wait_until(lambda: drain_is_running(live.home))
    wait_until(lambda: len(live.pids("drain")) == 1)
    [holder] = live.pids("drain")
    assert drain_is_running(live.home)
    assert main(["--home", str(live.home.root)]) == 0  # one runs: nothing to do
    os.kill(holder, signal.SIGTERM)
    wait_until(lambda: not drain_is_running(live.home))
    spool.close()


def test_a_drain_looks_for_writers_once_more_after_it_gave_up_its_lock(
    live: LiveHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve()
    late = open_spool(live.home.spool, "late")
    looks: list[bool] = []

    def nobody_first(self: Drain) -> None:
        """A drain that leaves, though a writer appeared just now."""
        looks.append(drain_is_running(live.home))
        if len(looks) == 2:
            late.close()
            for _ in range(3):
                self.once()

    monkeypatch.setattr(Drain, "run", nobody_first)
    assert main(["--home", str(live.home.root)]) == 0
    assert looks == [True, True]


def test_a_wrong_command_line_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--house", "x"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_collector_that_refuses_is_asked_ever_more_rarely_whoever_else_writes(tmp_path: Path) -> None:
    first, idle = open_spool(tmp_path, "a"), open_spool(tmp_path, "b")
    append(first, "r", 1)
    answering = Answering()
    answering.failure = Unavailable("the hot tier is full")
    asked: list[float] = []

    def connect(_endpoint: str) -> CollectorClient:
        asked.append(time.monotonic())
        return answering.client

    one = Drain(tmp_path, connect, leave_after_s=0.0)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    wait_until(lambda: len(asked) > 3)
    answering.failure = None
    wait_until(lambda: "n1" in answering.taken)
    assert asked[3] - asked[0] > 0.3, "0.05, 0.1 and 0.2 s lie between"
    first.close()
    idle.close()
    thread.join(10)
    one.close()
    assert not thread.is_alive()
