from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from livespan.instrumentation.spool import Entry, Refusal, Spool, list_writers, writer
from livespan.instrumentation.spool.layout import record_bytes
from livespan.instrumentation.spool.writer import SpoolWriter
from livespan.proto.errors import Closed, InvalidInput, SpoolFull

MIB = 1 << 20
MakeSpool = Callable[..., Spool]


@pytest.fixture
def make_spool(tmp_path: Path) -> Iterator[MakeSpool]:
    made: list[Spool] = []

    def make(max_process: int = 256 * MIB, max_home: int = 1024 * MIB, budget_s: float = 0.05) -> Spool:
        spool = Spool(
            tmp_path / "spool",
            "fam",
            endpoint="unix:/x",
            max_bytes_process=max_process,
            max_bytes_home=max_home,
            budget_s=budget_s,
        )
        made.append(spool)
        return spool

    yield make
    for spool in made:
        spool.close()


def entries(folder: Path) -> list[Entry]:
    return [entry for writer in list_writers(folder / "spool") for entry in writer.entries()]


def fill(spool: Spool, body: bytes) -> int:
    count = 0
    while True:
        try:
            spool.append(b"filler", body, kind=1)
        except SpoolFull:
            return count
        count += 1


def test_what_is_appended_is_read_back_in_order(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()
    wanted: list[tuple[int, bytes, bytes]] = []
    for index in range(300):
        head, body = b"h" * (index % 50), os.urandom(index * 37)
        writer_id, seq = spool.append(head, body, kind=index + 1)
        assert (writer_id, seq) == (spool.writer_id, index + 1)
        wanted.append((index + 1, head, body))
    got = entries(tmp_path)
    assert [(e.kind, e.head, e.body) for e in got] == wanted
    assert [e.seq for e in got] == list(range(1, 301))


def test_a_record_without_a_byte_is_still_a_record(make_spool: MakeSpool, tmp_path: Path) -> None:
    make_spool().append(b"", b"", kind=3)
    assert [(e.kind, e.head, e.body) for e in entries(tmp_path)] == [(3, b"", b"")]


def test_a_record_larger_than_any_segment_gets_one_of_its_own(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()
    large = os.urandom(20 * MIB)
    spool.append(b"before", kind=1)
    spool.append(b"large", large, kind=1)
    spool.append(b"after", kind=1)
    got = entries(tmp_path)
    assert [e.head for e in got] == [b"before", b"large", b"after"]
    assert got[1].body == large


def test_a_record_that_no_segment_can_hold_is_refused(make_spool: MakeSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_PAYLOAD_BYTES", 2 * MIB)
    with pytest.raises(InvalidInput):
        make_spool().append(b"x" * (2 * MIB + 1), kind=1)


def test_the_sequence_number_of_a_record_that_goes_another_way_is_not_given_out_again(
    make_spool: MakeSpool, tmp_path: Path
) -> None:
    spool = make_spool()
    assert spool.append(b"1", kind=1)[1] == 1
    assert spool.promise(100) == (spool.writer_id, 2)
    assert spool.append(b"3", kind=1)[1] == 3
    assert [e.seq for e in entries(tmp_path)] == [1, 3]


def test_a_full_process_cap_waits_no_longer_than_the_budget_and_is_counted(make_spool: MakeSpool) -> None:
    spool = make_spool(max_process=3 * MIB)
    count = fill(spool, b"x" * 50_000)
    assert 50 <= count <= 82, "3 MB, and what one segment more holds that the keeper was making"
    assert spool.refusals == {Refusal.PROCESS_CAP: 1}


def test_a_full_home_cap_counts_other_processes_segments(make_spool: MakeSpool) -> None:
    other = make_spool()
    for _ in range(30):
        other.append(b"", b"x" * 100_000, kind=1)
    spool = make_spool(max_home=9 * MIB)
    fill(spool, b"x" * 50_000)
    assert spool.refusals == {Refusal.HOME_CAP: 1}


def test_a_spool_without_room_for_a_first_segment_says_so_and_leaves_no_folder(
    make_spool: MakeSpool, tmp_path: Path
) -> None:
    with pytest.raises(SpoolFull, match="process_cap"):
        make_spool(max_process=MIB // 2)
    assert list_writers(tmp_path / "spool") == []


def test_appending_goes_on_once_an_acknowledged_segment_is_removed(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool(max_process=3 * MIB)
    fill(spool, b"x" * 50_000)
    [folder] = list_writers(tmp_path / "spool")
    for entry in folder.entries():
        folder.advance(entry.end)
    assert not folder.remove_finished()
    spool.append(b"again", b"x" * 50_000, kind=1)
    assert [e.head for e in folder.entries(folder.watermark())] == [b"again"]


def test_a_promised_end_record_finds_room_in_a_full_spool(make_spool: MakeSpool) -> None:
    spool = make_spool(max_process=3 * MIB)
    reserves = [10_000 + 7 * index for index in range(40)]
    for reserve in reserves:
        spool.append(b"started", kind=1, reserve=reserve)
    fill(spool, b"x" * 3_000)
    with pytest.raises(SpoolFull):
        spool.append(b"started", kind=1, reserve=3_000)
    for reserve in reversed(reserves):
        spool.append(b"", b"e" * reserve, kind=2, consumes=reserve)
    assert Refusal.PROCESS_CAP in spool.refusals


def test_a_start_is_refused_where_its_end_would_not_find_room(make_spool: MakeSpool) -> None:
    spool = make_spool(max_process=MIB, budget_s=0.0)
    with pytest.raises(SpoolFull):
        spool.append(b"started", kind=1, reserve=MIB)
    spool.append(b"started", kind=1, reserve=MIB // 2)
    with pytest.raises(SpoolFull):
        spool.append(b"started", kind=1, reserve=MIB // 2)
    spool.give_back(MIB // 2)
    spool.append(b"started", kind=1, reserve=MIB // 2)


def test_an_end_record_larger_than_its_promise_may_pass_the_caps(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool(max_process=MIB)
    spool.append(b"started", kind=1, reserve=1000)
    fill(spool, b"x" * 3_000)
    spool.append(b"ended", b"e" * (3 * MIB), kind=2, consumes=1000)
    assert entries(tmp_path)[-1].head == b"ended"


def test_promises_are_covered_at_every_moment(make_spool: MakeSpool) -> None:
    spool = make_spool(max_process=7 * MIB, budget_s=0.0)
    life = spool._life  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    outstanding: list[int] = []
    for step in range(3000):
        reserve = (step * 7919) % 60_000
        try:
            spool.append(b"s", b"x" * ((step * 31) % 5000), kind=1, reserve=reserve)
        except SpoolFull:
            if not outstanding:
                break
            reserve = outstanding.pop(step % len(outstanding))
            spool.append(b"", b"e" * reserve, kind=2, consumes=reserve)
        else:
            outstanding.append(reserve)
        promised = sum(record_bytes(r) for r in outstanding if r)
        assert life.writers[0].promised == promised
    for reserve in outstanding:
        spool.append(b"", b"e" * reserve, kind=2, consumes=reserve)


def test_an_append_cut_short_by_an_exception_costs_no_other_record(
    make_spool: MakeSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool()
    spool.append(b"first", b"b" * 100, kind=1)

    def interrupt(data: bytes, seed: int) -> int:
        raise KeyboardInterrupt

    # Between the payload and the commit word.
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_digest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            spool.append(b"cut", b"\xff" * 5000, kind=1)
    # Between the commit word and the end of the segment being moved.
    inner = spool._life.writers[0]  # pyright: ignore[reportPrivateUsage]  # as above
    spool.append(b"second", kind=1)
    current = inner._current  # pyright: ignore[reportPrivateUsage]  # as above
    current.end -= record_bytes(len(b"second"))
    inner._cut_short = True  # pyright: ignore[reportPrivateUsage]  # as above
    for index in range(50):
        spool.append(b"later", b"c" * index, kind=1)
    assert [e.head for e in entries(tmp_path)] == [b"first", b"second"] + [b"later"] * 50


def test_an_append_within_an_append_goes_to_another_writer(
    make_spool: MakeSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool()
    digest = writer._digest  # pyright: ignore[reportPrivateUsage]  # as above
    depth = 0
    got: list[tuple[str, int]] = []

    def reenter(data: bytes, seed: int) -> int:
        nonlocal depth
        if depth < 2:
            depth += 1
            got.append(spool.append(b"nested", b"n" * 1000, kind=depth, reserve=100))
        return digest(data, seed)

    monkeypatch.setattr(writer, "_digest", reenter)
    got.append(spool.append(b"outer", kind=9))
    assert len(set(spool.writer_ids)) == 3
    assert {writer_id for writer_id, _ in got} == set(spool.writer_ids)
    assert sorted(e.kind for e in entries(tmp_path)) == [1, 2, 9]
    spool.append(b"outer", kind=9)
    promised = spool._life.writers[0].promised  # pyright: ignore[reportPrivateUsage]  # as above
    assert promised == 2 * record_bytes(100)


def test_handlers_that_break_into_handlers_without_end_are_refused(
    make_spool: MakeSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool()
    digest = writer._digest  # pyright: ignore[reportPrivateUsage]  # as above
    refused: list[str] = []

    def reenter(data: bytes, seed: int) -> int:
        if not refused:
            try:
                spool.append(b"nested", kind=1)
            except SpoolFull as error:
                refused.append(str(error))
        return digest(data, seed)

    monkeypatch.setattr(writer, "_digest", reenter)
    spool.append(b"outer", kind=1)
    assert spool.refusals == {Refusal.NESTED: 1}
    assert len(spool.writer_ids) == 4


def test_a_finalizer_may_append(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()

    class Finalized:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            spool.append(b"del", kind=2)

    for _ in range(2000):
        Finalized()
        spool.append(b"live", b"x" * 100, kind=1)
    gc.collect()
    kinds = [e.kind for e in entries(tmp_path)]
    assert kinds.count(1) == 2000
    assert kinds.count(2) == 2000


def test_threads_share_one_writer_and_lose_nothing(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()

    def work(name: bytes) -> None:
        for index in range(400):
            spool.append(name, b"%d" % index * 200, kind=1)

    threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = entries(tmp_path)
    assert [e.seq for e in got] == list(range(1, 3201))
    for n in range(8):
        assert [e.body for e in got if e.head == b"%d" % n] == [b"%d" % i * 200 for i in range(400)]


def test_the_backlog_is_what_lies_above_the_watermark(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()
    for index in range(60):
        spool.append(b"%d" % index, b"x" * 50_000, kind=1)
    [folder] = list_writers(tmp_path / "spool")
    for entry in list(folder.entries())[:40]:
        folder.advance(entry.end)
    folder.remove_finished()
    [backlog] = spool.unacknowledged()
    spool.append(b"too late", kind=1)
    assert backlog.writer == spool.writer_id
    assert backlog.size_bytes == 20 * record_bytes(50_002)
    assert [e.head for e in backlog.entries] == [b"%d" % i for i in range(40, 60)]


def test_the_backlog_may_be_read_while_others_append(make_spool: MakeSpool) -> None:
    spool = make_spool()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            spool.append(b"x" * 100, b"y" * 2000, kind=1)

    thread = threading.Thread(target=work)
    thread.start()
    seen = 0
    while seen < 3000:
        [backlog] = spool.unacknowledged()
        seqs = [e.seq for e in backlog.entries]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= seen
        seen = len(seqs)
    stop.set()
    thread.join()


def test_the_keeper_lets_go_of_acknowledged_segments(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()
    inner: SpoolWriter = spool._life.writers[0]  # pyright: ignore[reportPrivateUsage]  # as above
    for _ in range(100):
        spool.append(b"", b"x" * 100_000, kind=1)
    assert inner._sealed  # pyright: ignore[reportPrivateUsage]  # as above
    [folder] = list_writers(tmp_path / "spool")
    for entry in folder.entries():
        folder.advance(entry.end)
    deadline_s = time.monotonic() + 10
    while inner._sealed and time.monotonic() < deadline_s:  # pyright: ignore[reportPrivateUsage]  # as above
        time.sleep(0.005)
    assert not inner._sealed  # pyright: ignore[reportPrivateUsage]  # as above
    assert spool.unacknowledged()[0].size_bytes == 0


def test_a_closed_spool_is_sealed_and_takes_no_more(make_spool: MakeSpool, tmp_path: Path) -> None:
    spool = make_spool()
    spool.append(b"x", kind=1)
    spool.close()
    with pytest.raises(Closed):
        spool.append(b"y", kind=1)
    [folder] = list_writers(tmp_path / "spool")
    assert not folder.alive()
    with folder.open(1) as segment:
        assert segment.sealed
    assert [e.head for e in folder.entries()] == [b"x"]


def test_a_family_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    for family in ("", "a/b", ".hidden", "x" * 200):
        with pytest.raises(InvalidInput):
            Spool(tmp_path, family, endpoint="", max_bytes_process=MIB, max_bytes_home=MIB)


def test_room_is_promised_to_a_record_whose_beginning_goes_another_way(make_spool: MakeSpool, tmp_path: Path) -> None:
    """An effect's start goes to the collector at once; its end must have room here before it may start."""
    spool = make_spool(max_process=MIB, budget_s=0.0)
    spool.promise(MIB // 2)
    with pytest.raises(SpoolFull):
        spool.promise(MIB // 2)
    fill(spool, b"x" * 3_000)
    spool.append(b"ended", b"e" * (MIB // 2), kind=2, consumes=MIB // 2)
    assert entries(tmp_path)[-1].head == b"ended"
