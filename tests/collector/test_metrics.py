from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.collector.stand import Writer, node, request
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.collector.disk import SystemDisk
from livespan.collector.hot_age import Ages
from livespan.collector.metrics.buckets import Buckets
from livespan.collector.metrics.registry import Metrics
from livespan.collector.metrics.route import metrics_route
from livespan.collector.metrics.timed_disk import TimedDisk
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.client import CollectorClient
from livespan.proto.errors import InvalidInput
from livespan.proto.measured import Family, counter, gauge, histogram

LATE = CollectorSettings(publish_s=60.0)


def numbers(metrics: Metrics) -> dict[str, float]:
    """Return what a scrape says, by `name` or `name{label value}`; a histogram by its count."""
    text = metrics.scrape().text.decode()
    return {
        sample.name + "".join(f"{{{value}}}" for key, value in sample.labels.items() if key != "le"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(live: LiveHome) -> dict[str, float]:
    live.inside.call(live.inside.context.indexed())
    return numbers(live.inside.context.metrics)


@ls.tool
def charge(cents: int) -> int:
    return cents


def test_what_came_in_is_counted_from_the_queue_to_the_lake(live: LiveHome) -> None:
    live.serve(LATE)
    before = of(live)
    client = CollectorClient(live.inside.collector.target)
    writer = Writer()
    payload = request(writer.started(node(1)), writer.ended(node(1)))
    client.export(payload)
    client.export(payload)
    client.close()
    after = of(live)
    rise = {name: after[name] - before.get(name, 0.0) for name in after}
    assert rise["livespan_acknowledged_requests_total"] == 2
    assert rise["livespan_acknowledged_records_total"] == 4
    assert rise["livespan_acknowledged_bytes_total"] == 2 * len(payload)
    assert rise["livespan_commit_batch_records_sum"] == 4
    assert rise["livespan_file_sync_seconds_count"] >= 2
    assert rise["livespan_hot_tier_records"] == 2
    assert rise["livespan_duplicate_records_total"] == 2
    assert after["livespan_receive_bytes"] == 0
    assert after["livespan_commit_queue_bytes"] == 0
    assert after["livespan_tail_followers"] == 0
    assert after["livespan_index_queue_requests"] == 0
    assert after["livespan_oldest_unpublished_record_age_seconds"] > 0
    assert after["livespan_log_segments"] == 1
    publisher = live.inside.collector._publisher  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    publisher.publish_once(last=True)
    published = of(live)
    assert published["livespan_published_records_total"] == 2
    assert published["livespan_publication_seconds_count"] == 1
    assert published["livespan_hot_tier_records"] == 0
    assert published["livespan_oldest_unpublished_record_age_seconds"] == 0
    assert published["livespan_folder_sync_seconds_count"] > after["livespan_folder_sync_seconds_count"]


def test_refusals_are_told_apart_by_their_reason(live: LiveHome) -> None:
    live.serve(CollectorSettings(publish_s=60.0, hot_bytes=1, publish_records=1 << 30))
    client = CollectorClient(live.inside.collector.target)
    with pytest.raises(InvalidInput):
        client.export(b"\xff" * 9)
    assert of(live)["livespan_refusals_total{invalid_request}"] == 1
    assert of(live)["livespan_refusals_total{hot_tier_full}"] == 0
    client.close()


def test_leases_intends_and_the_spools_backlog_are_told(live: LiveHome) -> None:
    live.serve(LATE)
    with live.run("order-17"):
        charge(1)
        charge(2)
        told = of(live)
        assert told["livespan_leases_held"] == 1
        assert told["livespan_intends_total"] == 2
        assert told["livespan_intend_connections"] == 1
        assert told["livespan_spool_writers"] == 1
        assert told["livespan_spool_segments_bytes"] > 0
    told = of(live)
    assert told["livespan_leases_held"] == 0
    assert told["livespan_lease_events_total{granted}"] == 1
    assert told["livespan_lease_events_total{released}"] == 1


def test_the_process_itself_is_told_and_nothing_is_registered_globally(live: LiveHome) -> None:
    live.serve(LATE)
    told = of(live)
    assert told["process_resident_memory_bytes"] > 1e6
    assert told["process_start_time_seconds"] > 1e9
    assert told["process_cpu_seconds_total"] > 0
    assert told["livespan_build_info{0.1.0}"] == 1
    from prometheus_client import REGISTRY

    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("livespan")]  # pyright: ignore[reportPrivateUsage]  # the library has no other way to ask


def test_every_name_says_its_unit_and_bears_help(live: LiveHome) -> None:
    live.serve(LATE)
    families = list(live.inside.context.metrics.families())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("livespan_")
        assert family.help.endswith(".") or "(" in family.help
        assert not family.name.endswith(("_ms", "_s", "_total", "_count", "_mb"))


def test_the_route_answers_in_the_format_that_is_asked_for() -> None:
    metrics = Metrics()

    def source() -> Iterator[Family]:
        yield counter("livespan_things", "Things.", {"a": 1, "b": 2}, "kind")
        yield gauge("livespan_depth", "Depth.", 3)
        buckets = Buckets((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 9.0):
            buckets.add(value)
        yield histogram("livespan_took_seconds", "Took.", buckets.read())

    metrics.add("test", source)
    client = TestClient(Starlette(routes=[metrics_route(metrics)]))
    plain = client.get("/metrics", headers={"accept": "text/plain"})
    assert plain.headers["content-type"].startswith("text/plain")
    lines = plain.text.splitlines()
    assert 'livespan_things_total{kind="b"} 2.0' in lines
    assert 'livespan_took_seconds_bucket{le="1.0"} 2.0' in lines
    assert 'livespan_took_seconds_bucket{le="+Inf"} 4.0' in lines
    assert "livespan_took_seconds_sum 12.0" in lines
    openmetrics = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert client.post("/metrics").status_code == 405


def test_a_source_that_breaks_is_counted_and_the_others_are_told() -> None:
    metrics = Metrics()

    def broken() -> Iterator[Family]:
        yield gauge("livespan_half", "Half.", 1)
        raise ValueError("a bug")

    metrics.add("broken", broken)
    metrics.add("well", lambda: [gauge("livespan_depth", "Depth.", 3)])
    told = numbers(metrics)
    assert told["livespan_depth"] == 3
    assert "livespan_half" not in told
    assert told["livespan_metric_source_failures_total{broken}"] == 1


class FailingDisk(SystemDisk):
    def sync_file(self, fd: int, path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))


def test_a_sync_that_fails_or_is_slow_is_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failing = TimedDisk(FailingDisk())
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            failing.sync_file(0, tmp_path)
    assert (failing.failures, sum(failing.file_syncs.read().counts)) == (3, 3)
    slow = TimedDisk(SystemDisk(), slow_s=0.0)
    slow.sync_folder(tmp_path)
    slow.sync_folder(tmp_path)
    assert [record.getMessage() for record in caplog.records] == ["a sync failed", "the disk is slow"]


def test_the_age_of_the_oldest_record_is_never_told_too_low() -> None:
    ages = Ages()
    for second in range(5000):
        ages.note(second * 10, float(second))
        ages.note(second * 10 + 9, second + 0.5)
    for seq in range(0, 50_000, 7):
        came_s = seq // 10
        assert ages.age_s(seq, 5000.0) >= 5000.0 - came_s - 0.5
    ages.forget_below(49_995)
    assert ages.age_s(49_999, 5000.0) <= 5.0
    assert ages.age_s(60_000, 5000.0) == 0.0
