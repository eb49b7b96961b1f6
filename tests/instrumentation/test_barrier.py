from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.instrumentation.spooled import Answering, append, damage, open_spool

from livespan.instrumentation.barrier import Barrier
from livespan.instrumentation.drain import Drain
from livespan.instrumentation.outbound import EntryKind
from livespan.instrumentation.spool import Spool
from livespan.proto.errors import Unavailable
from livespan.proto.ids import trace_id
from livespan.proto.span import WireSpan, export_request

TRACE = trace_id("default", "r")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = open_spool(tmp_path)
    spool.shared = True  # as after a fork: other writers of the family are looked for
    yield spool
    spool.close()


def names(spans: list[WireSpan]) -> list[str]:
    message = ExportTraceServiceRequest.FromString(export_request(spans))
    return [span.name for group in message.resource_spans for one in group.scope_spans for span in one.spans]


def collect(spool: Spool, folder: Path, seconds: float = 0.0) -> list[str]:
    found = Barrier(spool, folder, "family").collect(TRACE, time.monotonic() + seconds, lambda: None)
    return names(found.spans)


def test_all_that_a_run_has_not_acknowledged_is_collected_in_order(spool: Spool, tmp_path: Path) -> None:
    assert collect(spool, tmp_path) == []
    append(spool, "r", 1, 2, 3)
    assert collect(spool, tmp_path) == ["n1", "n2", "n3"]


def test_what_the_drain_has_had_acknowledged_is_left_out(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1, 2)
    drain = Drain(tmp_path, lambda _endpoint: Answering().client)
    drain.once()
    drain.close()
    append(spool, "r", 3)
    assert collect(spool, tmp_path) == ["n3"]


def test_what_went_with_an_earlier_effect_need_not_go_again(spool: Spool, tmp_path: Path) -> None:
    barrier, child = Barrier(spool, tmp_path, "family"), open_spool(tmp_path)
    append(spool, "r", 1)
    append(child, "r", 2)
    first = barrier.collect(TRACE, 0.0, lambda: None)
    assert sorted(names(first.spans)) == ["n1", "n2"]
    assert sorted(names(barrier.collect(TRACE, 0.0, lambda: None).spans)) == ["n1", "n2"], "it did not arrive"
    append(spool, "r", 3)
    barrier.acknowledged(first)
    assert names(barrier.collect(TRACE, 0.0, lambda: None).spans) == ["n3"]
    append(child, "r", 4)
    assert names(barrier.collect(TRACE, 0.0, lambda: None).spans) == ["n3", "n4"]
    child.close()


def test_other_runs_of_the_process_stay_behind(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1)
    append(spool, "other", 2)
    append(spool, "r", 3)
    assert collect(spool, tmp_path) == ["n1", "n3"]


def test_other_writers_of_the_family_come_along_and_strangers_do_not(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1)
    child, stranger = open_spool(tmp_path), open_spool(tmp_path, "stranger")
    append(child, "r", 2, 3)
    append(stranger, "r", 4)
    assert sorted(collect(spool, tmp_path)) == ["n1", "n2", "n3"]
    child.close()
    stranger.close()


def test_a_damaged_record_of_another_writer_hides_nothing_that_stands_before_it(spool: Spool, tmp_path: Path) -> None:
    child = open_spool(tmp_path)
    append(child, "r", *range(100, 110))
    damage(tmp_path, "n105")
    assert collect(spool, tmp_path) == [f"n{number}" for number in range(100, 105)]
    child.close()


def test_more_than_three_megabytes_wait_for_the_drain(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1, 2, 3, 4, body=bytes(1 << 20))
    kicks: list[int] = []

    def kick() -> None:
        kicks.append(1)
        drain = Drain(tmp_path, lambda _endpoint: Answering().client)
        drain.once()
        drain.close()
        append(spool, "r", 5)

    found = Barrier(spool, tmp_path, "family").collect(TRACE, time.monotonic() + 5, kick)
    assert (names(found.spans), len(kicks)) == (["n5"], 1)


def test_the_wait_for_the_drain_ends_at_its_deadline(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1, 2, 3, 4, body=bytes(1 << 20))
    with pytest.raises(Unavailable, match="3 MB") as refused:
        collect(spool, tmp_path, 0.05)
    assert "doctor" in refused.value.hint


def test_what_went_with_an_effect_is_not_sent_again_by_the_drain(spool: Spool, tmp_path: Path) -> None:
    barrier = Barrier(spool, tmp_path, "family")
    append(spool, "r", 1, 2)
    barrier.acknowledged(barrier.collect(TRACE, 0.0, lambda: None))
    assert [backlog.size_bytes for backlog in spool.unacknowledged()] == [0]
    append(spool, "r", 3)
    assert collect(spool, tmp_path) == ["n3"]


def test_a_writer_with_another_runs_records_is_left_to_the_drain(spool: Spool, tmp_path: Path) -> None:
    barrier = Barrier(spool, tmp_path, "family")
    append(spool, "r", 1)
    append(spool, "other", 2)
    barrier.acknowledged(barrier.collect(TRACE, 0.0, lambda: None))
    append(spool, "r", 3)
    barrier.acknowledged(barrier.collect(TRACE, 0.0, lambda: None))
    [backlog] = spool.unacknowledged()
    assert len(list(backlog.entries)) == 3


def test_a_record_that_cannot_be_read_is_left_to_the_drain_and_stops_no_effect(spool: Spool, tmp_path: Path) -> None:
    append(spool, "r", 1)
    spool.append(b"no journal span", kind=EntryKind.JOURNAL)
    append(spool, "r", 2)
    assert collect(spool, tmp_path) == ["n1", "n2"]
