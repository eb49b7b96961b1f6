from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.collector.stand import Writer, node, request

from livespan.collector.hot import HotTier
from livespan.collector.intake import Intake
from livespan.collector.log import Appended, Committer, Outcome, deliver_in, open_log
from livespan.proto.errors import InvalidInput, LeaseLost, Unavailable


async def test_what_is_acknowledged_is_visible_after_indexed_and_refusals_touch_nobody_else(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 20)
    committer = Committer(log, deliver=deliver_in(asyncio.get_running_loop()))
    hot = HotTier(64 << 20)
    intake = Intake(committer, hot)
    writer = Writer()

    def refuse() -> None:
        raise LeaseLost("no")

    first = intake.append(request(writer.started(node(1))))
    second = intake.append(request(writer.started(node(2))), refuse)
    third = intake.append(request(writer.started(node(3)), writer.ended(node(3))))
    one, two, three = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(two, LeaseLost)
    assert not isinstance(one, BaseException)
    assert not isinstance(three, BaseException)
    assert (one.first_seq, three.first_seq, three.count) == (1, 2, 2)
    await intake.indexed()
    assert len(hot.look("shop", "order-17").histories[0][1]) == 3
    assert (intake.counts.acknowledged_records, intake.counts.refused_requests) == (3, 1)
    with pytest.raises(InvalidInput):
        await intake.append(b"")
    with pytest.raises(InvalidInput):
        await intake.append(b"\xff" * 9)
    with pytest.raises(Unavailable, match="full"):
        await Intake(committer, HotTier(0)).append(request(writer.started(node(4))))
    intake.close()
    with pytest.raises(Unavailable, match="leaving"):
        await intake.append(request(writer.started(node(5))))
    await asyncio.to_thread(committer.close)
    log.close()


async def test_what_a_thread_appended_is_visible_after_indexed_though_the_loop_has_not_heard_of_it(
    tmp_path: Path,
) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 20)
    committer = Committer(log, deliver=deliver_in(asyncio.get_running_loop()))
    hot = HotTier(64 << 20)
    intake = Intake(committer, hot)
    writer = Writer()
    answers: list[Outcome] = []

    def effect() -> None:
        intake.append_here(request(writer.started(node(1))), None, answers.append)

    thread = threading.Thread(target=effect)
    thread.start()
    thread.join(10)  # the loop is held up meanwhile, so that its callback has not run
    assert isinstance(answers[0], Appended)
    assert not hot.look("shop", "order-17").histories
    await intake.indexed()
    assert len(hot.look("shop", "order-17").histories[0][1]) == 1
    with pytest.raises(InvalidInput):
        intake.append_here(b"", None, answers.append)
    await asyncio.to_thread(committer.close)
    await intake.settled()
    log.close()


async def test_what_is_acknowledged_and_waits_to_be_indexed_counts_for_the_bound(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=1 << 20)
    committer = Committer(log)  # it delivers at once, on this thread: the loop indexes nothing until it is let
    writer = Writer()
    payloads = [request(writer.started(node(number))) for number in range(1, 12)]
    hot = HotTier(10 * len(payloads[0]))
    intake = Intake(committer, hot)
    for payload in payloads[:10]:
        intake.append_here(payload, None, lambda _outcome: None)
    assert not hot.full_with(0)
    assert intake.full
    with pytest.raises(Unavailable, match="full"):
        intake.append_here(payloads[10], None, lambda _outcome: None)
    await intake.indexed()
    assert len(hot) == 10
    await asyncio.to_thread(committer.close)
    log.close()
