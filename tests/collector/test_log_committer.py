"""The committer: group commit, admission, acknowledgement after sync, backpressure, failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.power_cut import FailingDisk, RecordingDisk

from livespan.collector.log import (
    Appended,
    Committer,
    Entry,
    LogProtections,
    Outcome,
    call_each,
    deliver_in,
    open_log,
)
from livespan.proto.errors import Closed, InvalidInput, LeaseLost, Unavailable


class Gate:
    """A fault hook that holds the committer at one step until it is opened."""

    def __init__(self, step: str) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._step = step

    def __call__(self, step: str) -> None:
        if step == self._step:
            self.reached.set()
            assert self.opened.wait(10)


def collect(into: list[Outcome]) -> Callable[[Outcome], None]:
    return into.append


def test_many_submits_share_one_sync(tmp_path: Path) -> None:
    disk = RecordingDisk()
    gate = Gate("log.before_write")
    log = open_log(tmp_path / "log", segment_bytes=1 << 20, disk=disk, faults=gate, spares_ahead=0)
    committer = Committer(log)
    outcomes: list[Outcome] = []
    committer.submit(b"first", 1, None, collect(outcomes))
    assert gate.reached.wait(10)
    for _ in range(200):
        committer.submit(b"x" * 100, 2, None, collect(outcomes))
    gate.opened.set()
    committer.close()

    segment = [path for name, path in disk.calls if name == "write"][-1]
    assert disk.calls.count(("sync_file", segment)) == 2, "one for the first, one for all others"
    assert committer.batches == 2
    assert [each.first_seq for each in outcomes if isinstance(each, Appended)] == [
        1,
        *range(2, 402, 2),
    ]
    assert committer.pending_bytes == 0
    log.close()


def acknowledgements_before_sync(tmp_path: Path, protections: LogProtections) -> int:
    events: list[str] = []
    disk = RecordingDisk(lambda operation, _: events.append(operation))
    log = open_log(
        tmp_path / "log",
        segment_bytes=1 << 20,
        disk=disk,
        protections=protections,
        spares_ahead=0,
    )
    log.append([Entry(b"takes the first segment", 1)])
    committer = Committer(log)
    events.clear()
    for _ in range(50):
        committer.submit(b"x", 1, None, lambda _: events.append("acknowledged"))
    committer.close()
    log.close()
    early, unsynced = 0, False
    for event in events:
        if event in ("write", "sync_file"):
            unsynced = event == "write"
        early += unsynced and event == "acknowledged"
    assert events.count("acknowledged") == 50
    return early


def test_nothing_is_acknowledged_before_its_sync(tmp_path: Path) -> None:
    assert acknowledgements_before_sync(tmp_path, LogProtections()) == 0


def test_without_the_sync_all_would_be_acknowledged_early(tmp_path: Path) -> None:
    early = acknowledgements_before_sync(tmp_path, LogProtections(sync_before_ack=False))
    assert early > 0, "the protection protects from nothing"


def test_what_is_not_admitted_is_refused_alone_and_never_appended(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 16)
    committer = Committer(log)
    outcomes: list[Outcome] = []
    stop = LeaseLost("another process has this run")
    error = ValueError("no")

    def refuse_by(reason: BaseException) -> None:
        raise reason

    committer.submit(b"a", 1, None, collect(outcomes))
    committer.submit(b"b", 1, lambda: refuse_by(stop), collect(outcomes))
    committer.submit(b"c", 1, lambda: None, collect(outcomes))
    committer.submit(b"d", 1, lambda: refuse_by(error), collect(outcomes))
    committer.close()

    assert [type(each) for each in outcomes] == [Appended, LeaseLost, Appended, ValueError]
    assert [frame.payload for frame in log.frames(1)] == [b"a", b"c"]
    log.close()


def test_what_one_admission_changes_the_next_in_the_same_batch_sees(tmp_path: Path) -> None:
    gate = Gate("log.before_write")
    log = open_log(tmp_path / "log", segment_bytes=1 << 16, faults=gate)
    committer = Committer(log)
    outcomes: list[Outcome] = []
    epoch = [1]

    def grant() -> None:
        epoch[0] = 2

    def check() -> None:
        if epoch[0] != 1:
            raise LeaseLost("epoch 2 was granted")

    committer.submit(b"holds the disk", 1, check, collect(outcomes))
    assert gate.reached.wait(10)
    committer.submit(b"grant", 1, grant, collect(outcomes))
    committer.submit(b"start an effect", 1, check, collect(outcomes))
    gate.opened.set()
    committer.close()

    assert [type(each) for each in outcomes] == [Appended, Appended, LeaseLost]
    log.close()


def test_a_full_queue_refuses_and_takes_again_when_the_disk_has_caught_up(tmp_path: Path) -> None:
    gate = Gate("log.before_write")
    log = open_log(tmp_path / "log", segment_bytes=1 << 16, faults=gate)
    committer = Committer(log, max_pending_bytes=1000)
    outcomes: list[Outcome] = []
    committer.submit(b"x" * 5000, 1, None, collect(outcomes))
    assert gate.reached.wait(10)
    with pytest.raises(Unavailable, match="wait for the disk"):
        committer.submit(b"y", 1, None, collect(outcomes))
    gate.opened.set()
    while committer.pending_bytes:
        gate.reached.wait(0.001)
    committer.submit(b"z" * 1000, 1, None, collect(outcomes))
    committer.close()

    assert [type(each) for each in outcomes] == [Appended, Appended]
    log.close()


def test_close_appends_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 16)
    committer = Committer(log)
    outcomes: list[Outcome] = []
    for _ in range(20):
        committer.submit(b"x", 1, None, collect(outcomes))
    committer.close()
    committer.close()

    assert len(outcomes) == 20
    with pytest.raises(Closed):
        committer.submit(b"x", 1, None, collect(outcomes))
    with pytest.raises(InvalidInput):
        committer.submit(b"x", 0, None, collect(outcomes))
    log.close()


def test_the_event_loop_is_woken_once_per_batch(tmp_path: Path) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        deliver = deliver_in(loop)
        batches: list[int] = []
        gate = Gate("log.before_write")
        log = open_log(tmp_path / "log", segment_bytes=1 << 16, faults=gate)

        def count(outcomes: list[tuple[Callable[[Outcome], None], Outcome]]) -> None:
            batches.append(len(outcomes))
            deliver(outcomes)

        committer = Committer(log, deliver=count)
        futures = [loop.create_future() for _ in range(30)]
        for future in futures:
            committer.submit(b"x", 1, None, future.set_result)
        await asyncio.to_thread(gate.reached.wait, 10)
        gate.opened.set()
        appended = await asyncio.gather(*futures)

        assert [each.first_seq for each in appended] == list(range(1, 31))
        assert sum(batches) == 30
        assert len(batches) == committer.batches <= 30
        committer.close()
        log.close()

    asyncio.run(run())


def test_a_callback_that_raises_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    told: list[Outcome] = []

    def broken(_: Outcome) -> None:
        raise RuntimeError("broken callback")

    outcome = Closed("no frame")
    with pytest.raises(ExceptionGroup, match="callbacks"):
        call_each([(broken, outcome), (told.append, outcome)])
    assert len(told) == 1

    log = open_log(tmp_path / "log", segment_bytes=1 << 16)
    committer = Committer(log)
    committer.submit(b"x", 1, None, broken)
    while not committer.failures:
        threading.Event().wait(0.001)
    committer.submit(b"y", 1, None, told.append)
    committer.close()
    assert isinstance(told[-1], Appended)
    log.close()


def test_everyone_in_a_batch_is_told_when_the_disk_fails(tmp_path: Path) -> None:
    disk = FailingDisk()
    gate = Gate("log.before_write")
    log = open_log(tmp_path / "log", segment_bytes=1 << 16, disk=disk, faults=gate)
    committer = Committer(log)
    outcomes: list[Outcome] = []
    for _ in range(10):
        committer.submit(b"x", 1, None, collect(outcomes))
    assert gate.reached.wait(10)
    disk.failing.add("sync_file")
    gate.opened.set()
    committer.close()

    assert [type(each) for each in outcomes] == [Unavailable] * 10
    log.close()


def test_a_caller_that_commits_writes_on_its_own_thread_and_hears_before_anyone_else(tmp_path: Path) -> None:
    threads: list[int] = []
    events: list[str] = []

    def fault(step: str) -> None:
        if step == "log.after_sync":
            threads.append(threading.get_ident())
            events.append("synced")

    log = open_log(tmp_path / "log", segment_bytes=1 << 16, faults=fault)
    committer = Committer(log)
    committer.commit(b"x", 2, None, lambda _: events.append("done"), lambda _: events.append("answered"))
    assert events == ["synced", "answered", "done"]
    assert threads == [threading.get_ident()]
    assert committer.next_seq == 3
    assert committer.pending_bytes == 0
    committer.close()
    log.close()


def test_who_commits_takes_along_what_waits_and_who_waits_is_told_by_whoever_wrote(tmp_path: Path) -> None:
    gate = Gate("log.before_write")
    log = open_log(tmp_path / "log", segment_bytes=1 << 16, faults=gate)
    committer = Committer(log)
    submitted: list[Outcome] = []
    answered: list[Outcome] = []
    committer.submit(b"holds the disk", 1, None, collect(submitted))
    assert gate.reached.wait(10)
    ready = threading.Barrier(6)

    def effect() -> None:
        ready.wait(10)
        committer.commit(b"effect", 1, None, collect(submitted), collect(answered))

    threads = [threading.Thread(target=effect) for _ in range(5)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    while committer.pending_bytes < len(b"holds the disk") + 5 * len(b"effect"):
        threading.Event().wait(0.001)
    committer.submit(b"last", 1, None, collect(submitted))
    gate.opened.set()
    for thread in threads:
        thread.join(10)
    committer.close()

    assert [each.first_seq for each in submitted if isinstance(each, Appended)] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(each.first_seq for each in answered if isinstance(each, Appended)) == [2, 3, 4, 5, 6]
    assert committer.batches == 2
    log.close()


def test_what_a_caller_commits_is_admitted_in_its_turn_and_refused_alone(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 16)
    committer = Committer(log)
    done: list[Outcome] = []
    answered: list[Outcome] = []

    def refuse() -> None:
        raise LeaseLost("epoch 2 was granted")

    def broken(_: Outcome) -> None:
        raise RuntimeError("a connection that nobody reads")

    committer.commit(b"a", 1, refuse, collect(done), collect(answered))
    committer.commit(b"b", 1, None, collect(done), broken)
    committer.close()
    with pytest.raises(Closed):
        committer.commit(b"c", 1, None, collect(done), collect(answered))

    assert [type(each) for each in done] == [LeaseLost, Appended]
    assert [type(each) for each in answered] == [LeaseLost]
    assert committer.failures == 1
    assert [frame.payload for frame in log.frames(1)] == [b"b"]
    log.close()
