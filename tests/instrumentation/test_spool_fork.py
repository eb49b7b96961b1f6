from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from livespan.instrumentation.spool import Spool, list_writers, writer

MIB = 1 << 20


def open_spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", "fam", endpoint="unix:/x", max_bytes_process=256 * MIB, max_bytes_home=999 * MIB)


def in_child(work: Callable[[], None]) -> int:
    """Fork, do the work there, and return the child's pid without waiting for it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def succeeds(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def heads_by_writer(tmp_path: Path) -> dict[str, list[bytes]]:
    return {f.writer: [e.head for e in f.entries()] for f in list_writers(tmp_path / "spool")}


def test_a_forked_child_writes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append(b"before", kind=1)

    def work() -> None:
        assert spool.append(b"child", kind=1)[1] == 1

    pid = in_child(work)
    spool.append(b"parent", kind=1)
    assert succeeds(pid)
    got = heads_by_writer(tmp_path)
    assert got.pop(spool.writer_id) == [b"before", b"parent"]
    assert list(got.values()) == [[b"child"]]
    by_pid = {f.meta.pid: f.alive() for f in list_writers(tmp_path / "spool")}
    assert by_pid == {os.getpid(): True, pid: False}
    spool.close()


def test_both_sides_of_a_fork_know_that_the_family_has_other_writers(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    assert not spool.shared

    def work() -> None:
        assert spool.shared

    assert succeeds(in_child(work))
    assert spool.shared
    spool.close()


def test_a_forked_child_that_appends_nothing_makes_no_folder(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    assert succeeds(in_child(lambda: None))
    assert len(list_writers(tmp_path / "spool")) == 1
    spool.close()


def test_a_fork_while_other_threads_append_harms_neither_side(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    stop = threading.Event()
    counts: dict[bytes, int] = {}

    def work(name: bytes) -> None:
        count = 0
        while not stop.is_set() and count < 2000:
            spool.append(name, b"x" * 20_000, kind=1)
            count += 1
        counts[name] = count

    threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()

    def child() -> None:
        for _ in range(50):
            spool.append(b"child", b"y" * 20_000, kind=1)

    pids = [in_child(child) for _ in range(5)]
    assert all(succeeds(pid) for pid in pids)
    stop.set()
    for thread in threads:
        thread.join()
    got = heads_by_writer(tmp_path)
    own = got.pop(spool.writer_id)
    assert {name: own.count(name) for name in counts} == counts
    assert list(got.values()) == [[b"child"] * 50] * 5
    spool.close()


GO = os.pipe()


class ForksWhenMeasured(bytes):
    """A head that forks the process in the middle of the append it is passed to, once."""

    pid = -1

    def __len__(self) -> int:
        if self.pid < 0:
            self.pid = os.fork()
            if self.pid:
                raise KeyboardInterrupt
            # The child goes on once the parent has used the place that the child has in mind.
            os.read(GO[0], 1)
        return super().__len__()


def test_a_fork_inside_an_append_lets_the_child_reach_no_file_of_its_parent(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    parent = os.getpid()
    spool.append(b"1", kind=1)
    head = ForksWhenMeasured(b"2")
    code = 1
    try:
        spool.append(head, kind=1)
        assert os.getpid() != parent
        spool.append(b"child", b"c" * 1000, kind=1)
        code = 0
    except KeyboardInterrupt:
        pass
    finally:
        if os.getpid() != parent:
            os._exit(code)
    spool.append(b"3", b"p" * 1000, kind=1)
    os.write(GO[1], b"x")
    assert succeeds(head.pid)
    got = heads_by_writer(tmp_path)
    assert got.pop(spool.writer_id) == [b"1", b"3"]
    assert list(got.values()) == [[b"2", b"child"]]
    spool.close()


def test_a_fork_inside_an_append_leaves_the_record_to_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)
    parent = os.getpid()
    digest = writer._digest  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    pids: list[int] = []

    def fork_in_the_middle(data: bytes, seed: int) -> int:
        if data == b"2" and not pids:
            pids.append(os.fork())
        return digest(data, seed)

    monkeypatch.setattr(writer, "_digest", fork_in_the_middle)
    spool.append(b"1", kind=1)
    try:
        spool.append(b"2", kind=1)
    finally:
        if os.getpid() != parent:
            os._exit(0)
    spool.append(b"3", kind=1)
    assert succeeds(pids[0])
    got = heads_by_writer(tmp_path)
    assert got.pop(spool.writer_id) == [b"1", b"2", b"3"]
    assert list(got.values()) == [[b"2"]]
    spool.close()


def test_a_dead_parents_writer_is_dead_while_its_child_lives(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()

    def parent() -> None:
        spool = open_spool(tmp_path)
        spool.append(b"parent", kind=1)

        def child() -> None:
            spool.append(b"child", kind=1)
            os.write(write_end, b"%d" % os.getpid())
            signal.pause()

        in_child(child)
        signal.pause()

    pid = in_child(parent)
    child_pid = int(os.read(read_end, 20))
    try:
        alive = {f.meta.pid: f.alive() for f in list_writers(tmp_path / "spool")}
        assert alive == {pid: True, child_pid: True}
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        alive = {f.meta.pid: f.alive() for f in list_writers(tmp_path / "spool")}
        assert alive == {pid: False, child_pid: True}
    finally:
        os.kill(child_pid, signal.SIGKILL)
        os.close(read_end)
        os.close(write_end)


def test_looking_at_ones_own_writer_does_not_let_go_of_its_lock(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for _ in range(3):
        assert all(folder.alive() for folder in list_writers(tmp_path / "spool"))

    def elsewhere() -> None:
        assert all(folder.alive() for folder in list_writers(tmp_path / "spool"))

    assert succeeds(in_child(elsewhere))
    assert succeeds(in_child(elsewhere))
    spool.close()
    assert not any(folder.alive() for folder in list_writers(tmp_path / "spool"))
