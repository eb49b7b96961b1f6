from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from tests.livespan_home import LiveHome, wait_until
from tests.recovery.going_away import go_away_while_it_is_recorded

import livespan.instrumentation as ls
from livespan.collector.hot import HotTier
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import (
    InvalidInput,
    LeaseLost,
    LivespanError,
    NotFound,
    RunFinished,
    RunHeld,
    RunStopped,
    Stop,
)
from livespan.proto.holder import holder_message
from livespan.proto.ids import trace_id
from livespan.proto.process import ProcessId, start_time_ticks, this_process
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub

ME = this_process()
FAR = replace(ME, boot_id="another machine", pid=7)
SMALL = CollectorSettings(segment_bytes=64 << 10, publish_s=0.2)


class Holder:
    """A Hold stream that asks when it is told to."""

    def __init__(self, channel: grpc.Channel, process: ProcessId = ME, run_id: str = "r", spool: str = "here") -> None:
        self._spool = spool
        self.run = pb.RunRef(project="p", run_id=run_id)
        self._process = process
        self._questions: queue.Queue[pb.HoldRequest | None] = queue.Queue()
        self._replies = RecoveryStub(channel).Hold(iter(self._questions.get, None))

    def ask(self, *, epoch: int = 0, if_finished: str = "return") -> pb.HoldReply:
        self._questions.put(
            pb.HoldRequest(
                run=self.run,
                holder=holder_message(self._process, self._spool),
                epoch=epoch,
                if_finished=if_finished,
            )
        )
        try:
            return next(iter(self._replies))
        except grpc.RpcError as error:
            raise translate(error) from error

    def end(self) -> None:
        self._questions.put(None)


@pytest.fixture
def channel(live: LiveHome) -> Iterator[grpc.Channel]:
    with open_channel(f"unix:{live.home.root}/collector.sock") as channel:
        yield channel


def refusal(call: object, request: object) -> LivespanError | Stop:
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=10)  # type: ignore[operator]  # a stub's method
    return translate(refused.value)


def test_a_stream_grants_renews_and_fences(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    first, second = Holder(channel), Holder(channel)
    grant = first.ask()
    assert (grant.epoch, grant.attempt, grant.generation, grant.finished, grant.tail_unknown) == (1, 1, 0, False, False)
    assert first.ask().epoch == 1
    with pytest.raises(RunHeld, match=f"pid {ME.pid}"):
        second.ask()
    RecoveryStub(channel).Close(pb.CloseRequest(run=first.run, epoch=1), timeout=10)
    with pytest.raises(LeaseLost):
        first.ask()
    third = Holder(channel)
    assert (third.ask().epoch, Holder(channel).ask(epoch=2).epoch) == (2, 2)
    with pytest.raises(LeaseLost):
        Holder(channel).ask(epoch=1)


def test_whoever_asks_for_a_run_and_goes_away_has_it_when_it_asks_again(
    live: LiveHome, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve(SMALL)
    run, me = pb.RunRef(project="p", run_id="r"), holder_message(ME, "here")
    request = pb.HoldRequest(run=run, holder=me, token="the same")

    def ask() -> Any:
        return RecoveryStub(channel).Hold(iter([request]))

    go_away_while_it_is_recorded(monkeypatch, channel, run, ask)
    again = next(iter(ask()))
    assert (again.epoch, again.attempt) == (1, 1)
    history = live.inside.history("r", "p")
    assert history is not None
    assert history.last_attempt == 1


def test_a_run_needs_a_name(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    with pytest.raises(InvalidInput):
        Holder(channel, run_id="").ask()


def test_what_an_epoch_may_not_start_it_may_not_intend_or_open(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    holder = Holder(channel)
    holder.ask()
    stub = RecoveryStub(channel)
    assert isinstance(refusal(stub.Intend, pb.IntendRequest(run=holder.run, epoch=1)), InvalidInput)
    late = pb.IntendRequest(run=holder.run, epoch=9, export=_span(live))
    assert isinstance(refusal(stub.Intend, late), LeaseLost)
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Open(pb.OpenRequest(run=holder.run, epoch=9), timeout=10))
    assert isinstance(translate(refused.value), LeaseLost)


def _span(live: LiveHome) -> bytes:
    from tests.collector.stand import Writer, node, request

    return request(Writer().started(node(1)))


def test_facts_of_an_old_epoch_are_kept(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    reply = RecoveryStub(channel).Close(
        pb.CloseRequest(run=pb.RunRef(project="shop", run_id="order-17"), epoch=3, export=_span(live)), timeout=10
    )
    assert reply.log_seq > 0
    history = live.inside.history("order-17", "shop")
    assert history is not None
    assert len(history.calls) == 1


def test_a_dead_holder_frees_its_run_at_once(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = Holder(channel, replace(ME, pid=child.pid, start_time_ticks=start_time_ticks(child.pid)))
    holder.ask()
    assert len(live.inside.leases) == 1
    child.kill()
    child.communicate()
    grant = Holder(channel).ask()
    assert (grant.epoch, grant.attempt) == (2, 2)
    history = live.inside.history("r", "p")
    assert history is not None
    assert [record.attempt for record in history.attempts] == [1, 2]


def test_a_life_whose_spool_was_elsewhere_has_an_unknown_tail(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve(CollectorSettings(lease_s=0.3))
    Holder(channel, FAR).ask()
    wait_until(lambda: not live.inside.context.admission.held(_trace()))
    assert not Holder(channel, FAR).ask().tail_unknown, "who asks has that very spool, and has sent what it held"
    wait_until(lambda: not live.inside.context.admission.held(_trace()))
    assert Holder(channel, spool="another").ask().tail_unknown


def _trace() -> bytes:
    return trace_id("p", "r")


def test_two_that_ask_at_once_get_one_life_each_or_none(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()

    def life(_: int) -> int:
        holder = Holder(channel)
        try:
            grant = holder.ask()
        except RunHeld:
            return 0
        RecoveryStub(channel).Close(pb.CloseRequest(run=holder.run, epoch=grant.epoch), timeout=10)
        return grant.attempt

    async def many() -> list[int]:
        return await asyncio.gather(*[asyncio.to_thread(life, number) for number in range(24)])

    attempts = sorted(filter(None, asyncio.run(many())))
    assert attempts == list(range(1, len(attempts) + 1))


def test_a_restarted_collector_renews_what_was_live_in_full(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    assert Holder(channel, FAR).ask().epoch == 1
    live.inside.stop()
    live.serve()
    [told] = live.inside.leases
    assert told["epoch"] == 1
    assert Holder(channel, FAR).ask(epoch=1).epoch == 1
    with pytest.raises(RunHeld, match=r"1[45]\.\d s from now"):
        Holder(channel).ask()


def test_a_lease_outlives_the_log_segment_that_it_was_granted_in(live: LiveHome, channel: grpc.Channel) -> None:
    from tests.collector.stand import Writer, node, request

    live.serve(SMALL)
    assert Holder(channel, FAR).ask().epoch == 1
    writer = Writer(run_id="busy")
    for number in range(1, 60):
        payload = request(writer.started(node(number)), writer.ended(node(number), b'"' + b"x" * 8000 + b'"'))
        live.inside.call(live.inside.context.append(payload))
    log = live.inside.collector._log  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    wait_until(lambda: next(iter(log.frames(0))).first_seq > 2)
    live.inside.stop()
    live.serve(SMALL)
    assert Holder(channel, FAR).ask(epoch=1).epoch == 1
    with pytest.raises(RunHeld):
        Holder(channel).ask()


# What runs leave.

BIG = "x" * 60_000


@ls.step
def think(question: str) -> str:
    return BIG


def test_large_inputs_and_outputs_are_fetched_and_what_is_not_there_is_not_found(
    live: LiveHome, channel: grpc.Channel
) -> None:
    live.serve()
    with live.run("large"):
        assert think(BIG) == BIG
    with live.run("large") as run:
        assert (think(BIG), run.reused) == (BIG, 1)
    [record] = {record.node_id: record for record in live.records("large") if record.name == "think"}.values()
    ref = pb.RunRef(project="default", run_id="large")
    fetch = RecoveryStub(channel).Fetch
    assert BIG.encode() in fetch(pb.FetchRequest(run=ref, node_id=record.node_id, what="input"), timeout=10).content
    for request in (
        pb.FetchRequest(run=ref, node_id=b"12345678", what="input"),
        pb.FetchRequest(run=ref, node_id=record.node_id, what="state"),
        pb.FetchRequest(run=pb.RunRef(project="default", run_id="none"), node_id=record.node_id, what="input"),
    ):
        assert isinstance(refusal(fetch, request), NotFound)


def test_a_finished_run_is_said_to_be_and_may_be_refused_or_begun_anew(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    with live.run("done"):
        pass

    def ask(how: str) -> pb.HoldReply:
        holder = Holder(channel)
        holder.run = pb.RunRef(project="default", run_id="done")
        reply = holder.ask(if_finished=how)
        holder.run.generation = reply.generation
        RecoveryStub(channel).Close(pb.CloseRequest(run=holder.run, epoch=reply.epoch), timeout=10)
        return reply

    with pytest.raises(RunFinished):
        ask("raise")
    again = ask("return")
    assert (again.finished, again.attempt, again.generation) == (True, 2, 0)
    anew = ask("new")
    assert (anew.finished, anew.attempt, anew.generation) == (False, 1, 1)


def no_room(hot: HotTier, more_bytes: int) -> bool:
    return hot.size_bytes + more_bytes >= 0


def test_a_lease_that_could_not_be_given_back_is_given_back_when_asked_again_with_what_stopped_the_life(
    live: LiveHome, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve(SMALL)
    holder = Holder(channel)
    assert holder.ask().epoch == 1
    stopped = pb.ErrorDetail(kind="conflict", name="InDoubt", message="enough")
    close = pb.CloseRequest(run=holder.run, epoch=1, stopped=stopped)
    stub = RecoveryStub(channel)
    with monkeypatch.context() as full:
        full.setattr(HotTier, "full_with", no_room)
        assert "full" in str(refusal(stub.Close, close))
    standing = pb.StandingRequest(run=holder.run)
    assert stub.Standing(standing, timeout=10).HasField("holder")
    stub.Close(close, timeout=10)
    told = stub.Standing(standing, timeout=10)
    assert (told.HasField("holder"), told.stopped) == (False, stopped)


def test_what_stopped_a_life_is_known_after_the_collector_and_until_the_next_life(
    live: LiveHome, channel: grpc.Channel
) -> None:
    live.serve(SMALL)
    with pytest.raises(RunStopped), live.run("halted"):
        raise Stop("enough", subject="run halted", hint="Rest.")
    live.inside.stop()  # it publishes
    live.forget_connections()
    live.serve(SMALL)
    stub = RecoveryStub(channel)
    request = pb.StandingRequest(run=pb.RunRef(project="default", run_id="halted"))
    told = stub.Standing(request, timeout=10, wait_for_ready=True)
    assert (told.attempts, told.finished, told.HasField("holder")) == (1, False, False)
    assert told.stopped == pb.ErrorDetail(
        kind="conflict", name="Stop", message="enough", subject="run halted", hint="Rest."
    )
    [one] = stub.Interrupted(pb.InterruptedRequest(), timeout=10).runs
    assert (one.run.run_id, one.status, one.attempts, one.stopped.message) == ("halted", "interrupted", 1, "enough")
    assert (one.attempt.argv[0], one.attempt.cwd) == (sys.executable, os.getcwd())
    assert "PATH" in one.attempt.environment
    with live.run("halted"):
        told = stub.Standing(request, timeout=10)
        assert (told.attempts, told.holder.pid, told.HasField("stopped")) == (2, ME.pid, False)
        assert list(stub.Interrupted(pb.InterruptedRequest(), timeout=10).runs) == [], "it is held"
    assert stub.Standing(request, timeout=10).finished
    assert list(stub.Interrupted(pb.InterruptedRequest(), timeout=10).runs) == []
