"""A run's history is the same whether its records are hot, published, or both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.stand import STATE, Stand, Writer, node

from livespan.collector.arrow import arrow_table, create_parquet, read_parquet
from livespan.collector.lake.schema import CONTENT, CONTENT_COLUMNS
from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.record import Record, RecordKind

BIG = b'"' + b"z" * 20_000 + b'"'


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.crash()


def send_run(stand: Stand, publish_after: frozenset[int], *, look: bool = False) -> None:
    """A run of two lives in eight requests; published after those that are named."""
    writer = Writer()
    requests = [
        (writer.lease("granted"), writer.root_record(RecordKind.STARTED)),
        (writer.started(node(1)), writer.ended(node(1), BIG)),
        (writer.checkpoint(1), writer.span(RecordKind.GAP, writer.root, {names.SCOPE: "/a"})),
        (writer.started(node(2), given=BIG),),
        (writer.lease("died"),),
        (writer.settled(node(2), "not_done"),),
        (writer.ended(node(2)),),
        (writer.checkpoint(2, STATE + b"2"), writer.root_record(RecordKind.ENDED, failed=True)),
    ]
    for number, spans in enumerate(requests):
        stand.send(*spans)
        if look:
            stand.history.run("shop", "order-17")
        if number in publish_after:
            stand.publish()


def essence(record: Record | None) -> object:
    if record is None:
        return None
    texts = (record.text(names.CALL_KEY), record.text(names.SETTLED))
    return (record.kind, record.node_id, record.log_seq, record.failed, record.ended_ns, record.epoch, *texts)


def told(stand: Stand, run: RunHistory) -> object:
    """All that recovery asks of a history, content included."""
    charge, unsure = run.calls[node(1)], run.calls[node(2)]
    assert unsure[1] is not None
    return (
        [
            (key, essence(newest), started and (started.log_seq, started.text(names.SCOPE)))
            for key, (newest, started) in sorted(run.calls.items())
        ],
        [[essence(each) for each in records] for records in run.checkpoints.values()],
        [stand.history.content(each, "state") for each in run.checkpoints["/"]],
        stand.history.content(charge[0], "output"),
        stand.history.content(charge[1] or charge[0], "input"),
        stand.history.content(unsure[1], "input"),
        (run.trace_id, run.gaps, run.last_epoch, run.last_attempt, run.finished),
        run.last_lease and run.last_lease.text(names.LEASE_EVENT),
        [(each.log_seq, each.failed) for each in run.root_ends],
        sorted(run.late_ends),
    )


@pytest.mark.parametrize("publish_after", [(7,), (0, 1, 2, 3, 4, 5, 6, 7), (3,), (5,), (1, 6)])
def test_a_history_does_not_depend_on_what_is_published(tmp_path: Path, publish_after: tuple[int, ...]) -> None:
    found: list[object] = []
    for name, after in (("hot", ()), ("mixed", publish_after)):
        stand = Stand(tmp_path / name)
        send_run(stand, frozenset(after))
        run = stand.history.run("shop", "order-17")
        assert run is not None
        found.append(told(stand, run))
        stand.crash()
    assert found[0] == found[1]
    assert b"z" * 20_000 in repr(found[0]).encode()


@pytest.mark.parametrize("publish_after", [(7,), (0, 1, 2, 3, 4, 5, 6, 7), (3,), (5,), (1, 6)])
def test_a_history_that_was_kept_warm_is_the_one_that_the_files_tell(
    tmp_path: Path, publish_after: tuple[int, ...]
) -> None:
    stand = Stand(tmp_path)
    send_run(stand, frozenset(publish_after), look=True)
    warm = stand.history.run("shop", "order-17")
    stand.crash()
    again = Stand(tmp_path)
    cold = again.history.run("shop", "order-17")
    assert warm is not None
    assert cold is not None
    assert told(again, warm) == told(again, cold)
    again.crash()


def test_a_warm_history_gives_way_to_a_newer_generation(stand: Stand) -> None:
    stand.send(Writer().started(node(1)))
    stand.publish(last=True)
    first = stand.history.run("shop", "order-17")
    stand.send(Writer(generation=1, name="w2").started(node(2)))
    fresh = stand.history.run("shop", "order-17")
    stand.publish(last=True)
    later = stand.history.run("shop", "order-17")
    old = stand.history.run("shop", "order-17", 0)
    assert [run and (run.generation, set(run.calls)) for run in (first, fresh, later, old)] == [
        (0, {node(1)}),
        (1, {node(2)}),
        (1, {node(2)}),
        (0, {node(1)}),
    ]


def test_an_unknown_run_has_no_history(stand: Stand) -> None:
    assert stand.history.run("shop", "none") is None
    stand.send(Writer().started(node(1)))
    stand.publish()
    assert stand.history.run("shop", "none") is None
    assert stand.history.run("shop", "order-17", 3) is None


def test_content_is_found_when_its_record_was_published_in_between(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.checkpoint(1))
    run = stand.history.run("shop", "order-17")
    assert run is not None
    [record] = run.checkpoints["/"]
    stand.publish()
    assert stand.history.content(record, "state") == STATE


def test_a_value_that_was_never_recorded_is_not_found(stand: Stand) -> None:
    [record] = stand.send(Writer().started(node(1)))
    with pytest.raises(NotFound, match="no output"):
        stand.history.content(record, "output")


def test_content_that_is_not_what_was_recorded_is_damage(stand: Stand) -> None:
    stand.send(Writer().checkpoint(1))
    stand.publish()
    [path] = stand.hot.snapshot().content
    [row] = read_parquet(path).to_pylist()
    row["bytes"] = b"other"
    file = create_parquet(path, CONTENT, {})
    file.write_table(arrow_table(CONTENT, [[row[name]] for name in CONTENT_COLUMNS]), row_group_size=1)
    file.close()
    run = stand.history.run("shop", "order-17")
    assert run is not None
    with pytest.raises(Damaged, match="digest"):
        stand.history.content(run.checkpoints["/"][0], "state")


def test_a_run_of_many_nodes_is_read_from_few_files(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    for name in ("a", "m", "z"):
        writer = Writer(run_id=name, name=name)
        for number in range(1, 50):
            stand.send(writer.started(node(number)), writer.ended(node(number)))
        stand.publish()
    assert [file.may_hold("m") for file in stand.hot.files().nodes] == [False, True, False]
    stand.crash()
    stand = Stand(tmp_path)  # the bounds are read back from the table
    assert [file.may_hold("m") for file in stand.hot.files().nodes] == [False, True, False]
    run = stand.history.run("shop", "m")
    assert run is not None
    assert len(run.calls) == 49
    stand.crash()
