from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from tests.collector.recorded import RunBuilder

from livespan.collector.query.tails import Tails, tailed
from livespan.proto.errors import Unavailable
from livespan.proto.record import Record


def some(run_id: str, calls: int, project: str = "shop") -> list[Record]:
    records: list[Record] = []
    builder = RunBuilder(records, run_id, project)
    for number in range(calls):
        builder.start(f"think {number}", "PROMPT")
    return records


async def taken(stream: AsyncGenerator[bytes, None]) -> list[dict[str, Any]]:
    """Return what one step of a follower's stream says."""
    return [json.loads(line) for line in (await asyncio.wait_for(anext(stream), 5)).splitlines()]


async def test_a_follower_sees_what_comes_after_it_began_and_no_other_runs() -> None:
    tails = Tails()
    for record in some("before", 1):
        tails.put(record)
    everything, one = tails.follow("", ""), tails.follow("shop", "b")
    assert await taken(everything) == await taken(one) == []
    for record in [*some("a", 1), *some("b", 2), *some("b", 1, project="other")]:
        tails.put(record)
    assert [told["run_id"] for told in await taken(everything)] == ["a", "b", "b", "b"]
    assert [(told["run_id"], told["name"]) for told in await taken(one)] == [("b", "think 0"), ("b", "think 1")]
    await everything.aclose()
    await one.aclose()
    assert len(tails) == 0


async def test_a_slow_follower_is_told_how_much_it_missed_and_holds_nobody_up() -> None:
    tails = Tails(most_waiting=3)
    slow, quick = tails.follow("", ""), tails.follow("", "")
    await taken(slow)
    await taken(quick)
    seen = 0
    for record in some("a", 10):
        tails.put(record)
        seen += len(await taken(quick))
    assert seen == 10
    *shown, gap = await taken(slow)
    assert [told["name"] for told in shown] == ["think 0", "think 1", "think 2"]
    assert gap == {"dropped": 7}
    assert {family.name: family.samples[""] for family in tails.families()} == {
        "livespan_tail_followers": 2,
        "livespan_tail_queue_records": 0,
        "livespan_tail_dropped_records": 7,
    }
    await slow.aclose()
    assert [family.samples[""] for family in tails.families()] == [1, 0, 7]  # it does not fall when a follower leaves
    slow = tails.follow("", "")
    await taken(slow)
    for record in some("b", 1):
        tails.put(record)
    assert [told["run_id"] for told in await taken(slow)] == ["b"]


async def test_many_records_come_in_several_steps_and_none_is_lost() -> None:
    tails = Tails()
    stream = tails.follow("", "")
    await taken(stream)
    for record in some("a", 1001):
        tails.put(record)
    names = [told["name"] for _ in range(6) for told in await taken(stream)]
    assert names == [f"think {number}" for number in range(1001)]


async def test_a_collector_that_leaves_ends_every_stream() -> None:
    tails = Tails()
    stream = tails.follow("", "")
    await taken(stream)
    tails.close()
    with pytest.raises(Unavailable):
        await taken(stream)


async def test_too_many_followers_are_refused() -> None:
    tails = Tails()
    streams = [tails.follow("", "") for _ in range(64)]
    for stream in streams:
        await taken(stream)
    with pytest.raises(Unavailable, match="64 follow already"):
        await taken(tails.follow("", ""))
    await streams.pop().aclose()
    assert await taken(tails.follow("", "")) == []


def test_a_record_says_what_became_of_it() -> None:
    records: list[Record] = []
    builder = RunBuilder(records, "r")
    charge = builder.start("charge", effect=True)
    builder.end(charge, error="builtins.ValueError")
    builder.settle(charge, "not_done")
    told = [tailed(record) for record in records]
    assert [one.status for one in told] == ["RUNNING", "FAILED", "not_done"]
    assert (told[1].error_type, told[1].error_message) == ("builtins.ValueError", "it did not work")
    assert told[0].at == "2026-01-31T09:00:01.000000Z"
    assert told[1].at == "2026-01-31T09:00:01.012000Z"


@pytest.mark.parametrize("ns", [0, 1 << 63, (1 << 64) - 1])
def test_a_time_that_is_none_is_null(ns: int) -> None:
    [record] = some("r", 1)
    assert tailed(msgspec.structs.replace(record, started_ns=ns)).at is None
