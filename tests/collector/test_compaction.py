"""Compaction: many small files become few, no row changes, and a crash at any step leaves the table before or after."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.collector.stand import Stand, StoppedClock, Writer, node
from tests.power_cut import ForgetfulDisk

from livespan.collector.disk import SystemDisk
from livespan.collector.lake.file_names import role_of, units
from livespan.collector.lake.removed_files import GRACE_S
from livespan.collector.lake.schema import NODES
from livespan.collector.lake.table import open_table
from livespan.collector.lake.tiers import FAN_IN, MOST_ROWS, RowLimit, Sized, next_merge
from livespan.collector.verification import verify
from livespan.proto.home import Home

STEPS = ["compact.file_written", "compact.committed", "compact.switched", "compact.swept"]
BIG = b'"' + b"y" * 20_000 + b'"'
CHILD = Path(__file__).with_name("publishing_child.py")


class CrashError(Exception):
    """Ends a life in a test."""


def crash_at(step: str, nth: int = 1) -> FaultsUntil:
    return FaultsUntil(step, nth)


class FaultsUntil:
    """Raises at the nth time that a step is passed."""

    def __init__(self, step: str, nth: int) -> None:
        self.step = step
        self.left = nth

    def __call__(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                raise CrashError(step)


def fill(stand: Stand, publications: int = FAN_IN, runs: int = 3) -> None:
    """Publish some rows of several runs, one file a publication, with content in each."""
    for number in range(publications):
        for run in range(runs):
            writer = Writer(run_id=f"run-{run}", name=f"w{run}", seq=number * 10)
            stand.send(writer.started(node(number + 1)), writer.ended(node(number + 1), BIG), writer.checkpoint(number))
        stand.publish()


def rows(stand: Stand) -> list[list[tuple[object, ...]]]:
    """Return everything that the views over the published files show."""
    return [
        stand.rows(f"SELECT * FROM {view} ORDER BY ALL")
        for view in ("records", "nodes", "runs", "effects", "checkpoints", "content")
    ]


def files(stand: Stand) -> tuple[int, int]:
    """Return of how many publications or merges each table has live files."""
    told = stand.hot.files()
    return len(units(told.nodes)), len(units(told.content))


def compact(stand: Stand) -> None:
    while stand.publisher.compaction.step():
        pass


def faults(folder: Path) -> list[str]:
    """Return what `livespan verify` finds wrong."""
    return [str(fault) for part in verify(Home(folder)) for fault in part.faults]


def test_many_small_files_become_one_and_no_row_changes(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fill(stand)
    before = rows(stand)
    assert files(stand) == (FAN_IN, FAN_IN)
    compact(stand)
    assert files(stand) == (1, 1)
    assert rows(stand) == before
    assert [row["log_seq"] for row in stand.reader.run_rows(stand.hot.files().nodes, "shop", "run-1", None)]
    assert faults(tmp_path) == []
    stand.crash()


def test_a_merged_file_is_sorted_by_run_and_bounded_by_its_runs(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fill(stand)
    compact(stand)
    plain, beside = sorted(stand.hot.files().nodes, key=lambda file: role_of(file.path), reverse=True)
    for file in (plain, beside):
        order = stand.rows(f"SELECT project, run_id, log_seq FROM read_parquet('{file.path}')")
        assert [(run, seq) for _, run, seq in order] == sorted((str(run), int(str(seq))) for _, run, seq in order)
        assert (file.first_run, file.last_run, file.rows) == ("run-0", "run-2", len(order))
    stand.crash()


def test_compaction_goes_on_over_publications_and_lives(tmp_path: Path) -> None:
    for life in range(3):
        stand = Stand(tmp_path)
        writer = Writer(name=f"w{life}", seq=0)
        for number in range(1, FAN_IN + 1):
            stand.send(writer.started(node(life * 100 + number)), writer.ended(node(life * 100 + number)))
            stand.publish()
            stand.publisher.compaction.step()
        assert stand.rows("SELECT count(*) FROM nodes") == [((life + 1) * FAN_IN,)]
        assert files(stand)[0] == life + 1
        stand.crash()
    assert faults(tmp_path) == []


def test_who_holds_an_older_list_of_files_still_reads_it_until_the_time_is_over(tmp_path: Path) -> None:
    clock = StoppedClock()
    stand = Stand(tmp_path, clock=clock)
    fill(stand)
    old = stand.hot.snapshot().nodes
    compact(stand)
    clock.now_ns += (GRACE_S - 1) * 1_000_000_000
    stand.publisher.compaction.step()
    assert all(path.exists() for path in old)
    clock.now_ns += 1_000_000_000
    stand.publisher.compaction.step()
    assert not any(path.exists() for path in old)
    assert faults(tmp_path) == []
    stand.crash()


def test_a_restart_remembers_since_when_files_are_removed(tmp_path: Path) -> None:
    clock = StoppedClock()
    stand = Stand(tmp_path, clock=clock)
    fill(stand)
    old = stand.hot.snapshot().nodes
    compact(stand)
    stand.crash()
    stand = Stand(tmp_path, clock=clock)
    stand.publisher.compaction.step()
    assert all(path.exists() for path in old)
    clock.now_ns += GRACE_S * 1_000_000_000
    stand.publisher.compaction.step()
    assert not any(path.exists() for path in old)
    stand.crash()


@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=pytest.mark.crash)])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_changes_no_row(tmp_path: Path, step: str, nth: int) -> None:
    stand = Stand(tmp_path, faults=crash_at(step, nth))
    fill(stand)
    before = rows(stand)
    with pytest.raises(CrashError):
        for _ in range(2):
            stand.publisher.compaction.step()
    stand.crash()
    stand = Stand(tmp_path)
    stand.publish()
    assert rows(stand) == before
    compact(stand)
    assert rows(stand) == before
    assert files(stand) == (1, 1)
    assert faults(tmp_path) == []
    stand.crash()


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_a_merge_that_failed_is_gone_on_with_in_the_same_life(tmp_path: Path, step: str) -> None:
    stand = Stand(tmp_path, faults=crash_at(step))
    fill(stand)
    before = rows(stand)
    with pytest.raises(CrashError):
        stand.publisher.compaction.step()
    stand.publish()
    assert len(rows(stand)[0]) == len(before[0])
    compact(stand)
    assert rows(stand) == before
    assert files(stand) == (1, 1)
    stand.crash()


@pytest.mark.crash
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_step_changes_no_row(tmp_path: Path, step: str, torn: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    disk = ForgetfulDisk(home)
    stand = Stand(home, disk=disk, faults=crash_at(step))
    fill(stand)
    before = rows(stand)
    with pytest.raises(CrashError):
        stand.publisher.compaction.step()
    disk.cut(random.Random(7) if torn else None)
    stand.crash()
    stand = Stand(home)
    stand.publish()
    assert rows(stand) == before
    assert faults(home) == []
    stand.crash()


@pytest.mark.crash
def test_a_process_killed_while_it_compacts_loses_and_doubles_nothing(tmp_path: Path) -> None:
    coin = random.Random(5)
    wait = threading.Event().wait
    for life, step in enumerate(STEPS[:3]):
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(life), "compact"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None
        while (line := child.stdout.readline().strip().decode()) != step:
            assert line, child.communicate()
        wait(coin.random() * 0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    stand = Stand(tmp_path)
    appended = stand.log.next_seq - 1
    stand.publish(last=True)
    paths = [str(path) for path in stand.hot.snapshot().nodes]
    stored = stand.rows(f"SELECT log_seq, started_seq FROM read_parquet({paths!r})")
    seqs = [seq for seq, _ in stored]
    assert len(seqs) == len(set(seqs))
    told = set(seqs) | {started for _, started in stored if started is not None}
    assert told == set(range(1, appended + 1))
    assert faults(tmp_path) == []
    stand.crash()


def test_a_damaged_file_is_left_out_and_never_given_a_new_checksum(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fill(stand, FAN_IN + 1)
    bad = stand.hot.files().nodes[0].path
    data = bytearray(bad.read_bytes())
    data[60] ^= 0xFF
    bad.write_bytes(bytes(data))
    stand.publisher.compaction.step()
    stand.publisher.compaction.step()
    assert stand.publisher.compaction.counts.failures == 1
    assert [unit[0].path == bad for unit in units(stand.hot.files().nodes)] == [True, False]
    assert any(str(bad) in fault for fault in faults(tmp_path))
    stand.crash()


def test_a_file_whose_footer_ends_its_reader_is_left_out(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fill(stand, FAN_IN + 1)
    bad = stand.hot.files().nodes[0].path
    bad.write_bytes(b"PAR1" + bytes(200) + b"\xff\xff\xff\x7fPAR1")
    stand.publisher.compaction.step()
    stand.publisher.compaction.step()
    assert [unit[0].path == bad for unit in units(stand.hot.files().nodes)] == [True, False]
    stand.crash()


def test_what_was_halved_for_a_full_disk_is_doubled_again_an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("livespan.collector.lake.tiers.monotonic", lambda: now_s)
    limit = RowLimit()
    limit.relax()
    assert limit.rows == MOST_ROWS
    limit.halve()
    limit.halve()
    limit.relax()
    assert limit.rows == MOST_ROWS // 4
    now_s += 3600
    limit.relax()
    limit.relax()
    assert limit.rows == MOST_ROWS // 2
    now_s += 3600
    limit.relax()
    assert limit.rows == MOST_ROWS


def test_the_thread_merges_by_itself_and_ends_at_once(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    fill(stand)
    before = rows(stand)
    stand.publisher.start()
    stand.publisher.compaction.wake()
    while files(stand) != (1, 1):
        threading.Event().wait(0.05)
    stand.publisher.close()
    assert rows(stand) == before
    stand.crash()


def test_another_delta_reader_reads_the_compacted_table(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    stand = Stand(tmp_path)
    fill(stand)
    version = DeltaTable(tmp_path / "lake" / "nodes").version()
    compact(stand)
    delta = DeltaTable(tmp_path / "lake" / "nodes")
    assert delta.version() == version + 1
    assert delta.history(1)[0]["operation"] == "OPTIMIZE"
    assert sorted(uri.rpartition("/")[2].partition("-")[0] for uri in delta.file_uris()) == ["beside", "plain"]
    older = DeltaTable(tmp_path / "lake" / "nodes", version=version)
    assert len(older.file_uris()) == FAN_IN
    assert delta.transaction_version(f"livespan:{stand.log.uuid}") == stand.publisher.watermark
    stand.crash()


def test_a_merge_commit_never_takes_the_place_of_somebody_elses(tmp_path: Path) -> None:
    from livespan.collector.lake.replacement import Replacement, write_replacement

    table = open_table(tmp_path / "nodes", NODES, "log", SystemDisk())
    first = (table.folder / "_delta_log" / f"{0:020}.json").read_bytes()
    target = tmp_path / "nodes" / "part-x.parquet"
    target.write_bytes(b"")
    with pytest.raises(FileExistsError):
        write_replacement(table.folder, 0, Replacement([], [(target, "{}")], 1), SystemDisk())
    assert (table.folder / "_delta_log" / f"{0:020}.json").read_bytes() == first
    assert list((table.folder / "_delta_log").glob("*.tmp")) == []


def test_a_row_is_written_anew_once_for_each_size(tmp_path: Path) -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(4096):
        sizes.append(10)
        while chosen := next_merge([Sized(rows, rows * 100) for rows in sizes]):
            merged = sum(sizes[each] for each in chosen)
            sizes[chosen.start : chosen.stop] = [merged]
            written += merged
    assert sum(sizes) == 40_960
    assert len(sizes) < 30
    assert written <= 40_960 * 4


def test_small_files_between_larger_ones_are_merged_with_them() -> None:
    sizes = [rows for _ in range(FAN_IN) for rows in (5000, 3, 2)]
    chosen = next_merge([Sized(rows, rows) for rows in sizes])
    assert chosen is not None
    assert (chosen.start, len(chosen)) == (0, 3 * FAN_IN)


def test_large_files_and_those_left_out_are_let_alone() -> None:
    large = [Sized(300_000, 1)] * 20 + [Sized(10, 200 << 20)] * 20
    assert next_merge(large) is None
    assert next_merge([Sized(10, 1, left_out=True)] * 20) is None
    assert next_merge([Sized(60_000, 60 << 20)] * 4) == range(4)


def test_a_step_takes_a_bounded_amount() -> None:
    chosen = next_merge([Sized(100_000, 40 << 20)] * 50)
    assert chosen is not None
    assert len(chosen) * 40 <= 256
