"""The hot tier: dedupe, bounds, what it knows of a run, and snapshots that never tear."""

from __future__ import annotations

import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.collector.recorded import RunBuilder
from tests.collector.stand import Stand, Writer, node

from livespan.collector.arrow import read_parquet
from livespan.collector.hot import HotTier, LakeFiles
from livespan.collector.lake.table import LakeFile
from livespan.collector.log import FrameRef
from livespan.collector.seen import Intervals
from livespan.proto.otlp import Request
from livespan.proto.record import Record, RecordKind
from livespan.proto.span import WireSpan, export_request

REF = FrameRef(1, 0, 0, 100)


def records_of(*spans: WireSpan, first: int = 1) -> list[Record]:
    return Request(export_request(spans)).records(first)


@given(st.lists(st.integers(0, 40)))
def test_intervals_are_a_set(numbers: list[int]) -> None:
    intervals, seen = Intervals(), set[int]()
    for number in numbers:
        assert intervals.add(number) is (number not in seen)
        seen.add(number)
    assert len(intervals) == sum(1 for number in seen if number - 1 not in seen)


def test_a_writers_record_counts_once_whatever_its_log_seq() -> None:
    hot, writer = HotTier(), Writer()
    span = writer.started(node(1))
    hot.add(records_of(span, first=1), REF, 100)
    hot.add(records_of(span, first=2), REF, 100)
    assert (len(hot), hot.duplicates, hot.indexed_seq) == (1, 1, 2)


def test_a_span_without_a_writer_counts_once_by_what_it_says_wherever_it_stands() -> None:
    hot, writer = HotTier(), Writer()
    one = writer.span(RecordKind.LEASE, writer.root, writer="", state=b"s" * 20)
    other = writer.span(RecordKind.LEASE, writer.root, writer="", state=b"s" * 20)
    hot.add(records_of(one, first=1), REF, 100)
    hot.add(records_of(other, one, first=2), REF, 100)
    assert (len(hot), hot.duplicates) == (2, 1)


def test_it_is_full_at_its_bound_and_wants_to_be_published_before() -> None:
    hot, writer = HotTier(limit_bytes=40_000, publish_records=1000), Writer()
    hot.add(records_of(writer.started(node(1))), REF, 15_000)
    assert not hot.full_with(0)
    assert not hot.wants_publish
    hot.add(records_of(writer.started(node(2)), first=2), REF, 15_000)
    assert hot.wants_publish
    assert hot.full_with(10_000)
    hot.add(records_of(writer.started(node(3)), first=3), REF, 15_000)
    assert hot.full_with(0)
    held, _ = hot.take()
    hot.publish(hot.files(), held)
    assert not hot.full_with(0)
    assert (hot.size_bytes, len(hot)) == (0, 0)


def test_a_snapshot_has_the_files_of_its_own_instant(tmp_path: Path) -> None:
    hot, writer = HotTier(), Writer()
    hot.add(records_of(writer.started(node(1))), REF, 100)
    before = hot.snapshot()
    held, _ = hot.take()
    hot.publish(LakeFiles(nodes=(LakeFile(tmp_path / "a.parquet", "r", "r"),)), held)
    after = hot.snapshot()
    told = [(len(each.hot), len(each.nodes), len(each.files.nodes)) for each in (before, after)]
    assert told == [(1, 0, 0), (0, 1, 1)]


def test_the_newest_record_of_a_node_is_settled_then_ended_then_started() -> None:
    records: list[Record] = []
    run = RunBuilder(records, "order-17")
    charge = run.start("charge", effect=True)
    run.settle(charge, "not_done")
    run.end(charge)
    mail = run.start("mail")
    for order in (records, records[::-1]):
        hot = HotTier()
        for record in order:
            hot.add([record], REF, 10)
        [(history, held)] = hot.look("shop", "order-17").histories.values()
        newest, started = history.calls[charge]
        assert (newest.kind, started) == (RecordKind.SETTLED, records[0])
        assert history.calls[mail] == (records[3], records[3])
        assert len(held) == 4
    assert history.late_ends.keys() <= {charge}


def test_indexing_can_be_waited_for_from_another_thread() -> None:
    hot, writer = HotTier(), Writer()
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(hot.wait_indexed(1, 20)))
    waiter.start()
    hot.add(records_of(writer.started(node(1))), REF, 10)
    waiter.join()
    assert found == [True]
    assert not hot.wait_indexed(2, 0.01)


def test_a_snapshot_never_has_a_record_twice_or_not_at_all(tmp_path: Path) -> None:
    stand, writer = Stand(tmp_path), Writer()
    done = threading.Event()
    sizes: list[tuple[int, int]] = []
    rows: dict[str, int] = {}

    def look() -> None:
        while not done.is_set() or not sizes:
            before = stand.hot.indexed_seq
            snapshot = stand.hot.snapshot()
            after = stand.hot.indexed_seq
            for path in snapshot.nodes:
                if path.name not in rows:
                    rows[path.name] = read_parquet(path).num_rows
            count = len(snapshot.hot) + sum(rows[path.name] for path in snapshot.nodes)
            sizes.append((count - before, count - after))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(1, 61):
        stand.send(writer.checkpoint(number, b"s"))
        if number % 4 == 0:
            stand.publish()
    done.set()
    looker.join()
    assert all(least >= 0 >= most for least, most in sizes), sizes
    stand.crash()
