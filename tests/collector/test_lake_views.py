"""What the views say of runs: doubt, conflict, status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.stand import Stand, Writer, node

from livespan.proto.record import RecordKind
from livespan.proto.span import WireSpan


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.crash()


def one_node(stand: Stand, columns: str) -> tuple[object, ...]:
    stand.publish()
    [row] = stand.rows(f"SELECT {columns} FROM nodes WHERE node_id = '{node(1).hex()}'")
    return row


def test_a_started_effect_is_in_doubt_once_its_run_is_held_no_more(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.lease("granted"), writer.started(node(1)))
    assert one_node(stand, "status, in_doubt") == ("RUNNING", False)
    stand.send(writer.lease("died"))
    assert one_node(stand, "status, in_doubt") == ("RUNNING", True)


def test_an_effect_that_failed_is_in_doubt_and_a_read_is_not(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.ended(node(1), failed=True))
    stand.send(writer.started(node(2), effect=False))
    stand.publish()
    assert stand.rows("SELECT in_doubt FROM nodes ORDER BY node_id") == [(True,), (False,)]


def test_a_settled_node_has_the_verdicts_outcome_and_its_own_columns(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.settled(node(1), "done", b'{"id":7}'))
    row = one_node(stand, "kind, status, output, not_done, in_doubt, conflict, input, scope")
    assert row == ("settled", "SUCCESS", '{"id":7}', False, False, False, '{"cents": 4200}', "/")


def test_a_node_settled_as_not_done_failed_and_is_not_in_doubt(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.settled(node(1), "not_done"))
    assert one_node(stand, "status, output, not_done, in_doubt") == ("FAILED", None, True, False)


def test_an_end_that_says_otherwise_than_the_verdict_before_it_is_a_conflict(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.settled(node(1), "not_done"))
    stand.publish()
    stand.send(writer.ended(node(1)))
    assert one_node(stand, "kind, status, conflict") == ("settled", "FAILED", True)


def test_an_end_that_says_the_same_as_the_verdict_is_none(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.started(node(1)), writer.settled(node(1), "done", b'"ok"'), writer.ended(node(1)))
    assert one_node(stand, "kind, status, conflict") == ("settled", "SUCCESS", False)


def story(writer: Writer, told: str) -> list[WireSpan]:
    """Return the records of a run, by words."""
    known = {
        "granted": lambda: writer.lease("granted"),
        "died": lambda: writer.lease("died"),
        "released": lambda: writer.lease("released"),
        "effect-started": lambda: writer.started(node(1)),
        "effect-failed": lambda: writer.ended(node(1), failed=True),
        "root-done": lambda: writer.root_record(RecordKind.ENDED),
        "root-failed": lambda: writer.root_record(RecordKind.ENDED, failed=True),
    }
    return [known[word]() for word in told.split()]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("granted", "running"),
        ("granted died", "interrupted"),
        ("granted effect-started died", "in_doubt"),
        ("granted root-done released", "done"),
        ("granted root-failed released", "failed"),
        ("effect-started effect-failed root-failed", "in_doubt"),
    ],
)
def test_a_runs_status(stand: Stand, told: str, status: str) -> None:
    writer = Writer()
    stand.send(writer.root_record(RecordKind.STARTED), *story(writer, told))
    stand.publish()
    assert stand.rows("SELECT status, newest FROM runs") == [(status, True)]


def test_a_failed_run_that_was_taken_up_again_is_running(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.lease("granted"), writer.root_record(RecordKind.ENDED, failed=True), writer.lease("released"))
    writer.attempt = 2
    stand.send(writer.lease("granted"))
    stand.publish()
    assert stand.rows("SELECT status, attempts FROM runs") == [("running", 2)]


def test_a_run_counts_its_nodes_and_effects(stand: Stand) -> None:
    writer = Writer()
    stand.send(writer.root_record(RecordKind.STARTED), writer.started(node(1)), writer.ended(node(1)))
    stand.send(writer.started(node(2), kind="PROMPT", effect=False), writer.checkpoint(1))
    stand.publish()
    rows = stand.rows("SELECT run_id, project, nodes, effects, in_doubt, input_tokens, tags FROM runs")
    assert rows == [("order-17", "shop", 3, 1, 0, 0, '{"tier":"gold"}')]
