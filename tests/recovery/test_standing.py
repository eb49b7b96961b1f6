from __future__ import annotations

from tests.collector.recorded import RunBuilder

from livespan.collector.run_history import RunHistory
from livespan.proto.record import Record
from livespan.recovery.standing import standing_of


def history(records: list[Record]) -> RunHistory:
    run = RunHistory("shop", "r", 0)
    for record in records:
        run.add(record)
    return run


def build() -> tuple[list[Record], RunBuilder]:
    records: list[Record] = []
    builder = RunBuilder(records, "r")
    builder.open_root()
    return records, builder


def test_of_a_run_that_is_not_there_nothing_is_known() -> None:
    told = standing_of(None, None)
    assert (told.attempts, told.progress, told.finished, told.HasField("holder")) == (0, 0, False, False)
    assert told.place == "before its first step"


def test_what_is_done_is_progress_and_what_is_started_or_failed_is_none() -> None:
    records, builder = build()
    assert standing_of(history(records), None).progress == 0
    builder.call("think")
    assert standing_of(history(records), None).progress == 1
    charge = builder.start("charge", effect=True)
    assert standing_of(history(records), None).progress == 1
    builder.settle(charge, "not_done")
    assert standing_of(history(records), None).progress == 1
    other = builder.start("mail", effect=True)
    builder.settle(other, "done", output="1")
    assert standing_of(history(records), None).progress == 2


def test_a_life_is_placed_in_the_call_that_it_had_begun() -> None:
    records, builder = build()
    builder.call("think")
    builder.start("charge", effect=True)
    told = standing_of(history(records), None)
    assert told.place == "in TOOL charge"
    assert told.place_key.startswith("in ")


def test_a_life_that_begins_no_call_is_placed_after_the_last_that_is_done() -> None:
    records, builder = build()
    builder.call("think")
    builder.attempt = 2
    builder.open_root()
    told = standing_of(history(records), None)
    assert (told.place.split()[0], told.place.split()[-1]) == ("after", "think")
    builder.attempt = 3
    builder.open_root()
    assert standing_of(history(records), None).place_key == told.place_key


def test_a_finished_run_says_so() -> None:
    records, builder = build()
    builder.call("think")
    builder.end_root()
    assert standing_of(history(records), None).finished
