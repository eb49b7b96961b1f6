from __future__ import annotations

import os
import signal
import time

import pytest
from tests.livespan_home import LiveHome, wait_until

import livespan.instrumentation as ls
from livespan.collector.settings import CollectorSettings
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.holding import Holding
from livespan.proto.errors import RunHeld, Stop, Unavailable
from livespan.proto.holder import holder_message
from livespan.proto.process import this_process
from livespan.proto.rendezvous import locate
from livespan.proto.v1 import livespan_pb2 as pb

LEASE_S = 1.0
SHORT = CollectorSettings(lease_s=LEASE_S, publish_s=0.5)


def request(run_id: str = "r") -> pb.HoldRequest:
    return pb.HoldRequest(run=pb.RunRef(project="p", run_id=run_id), holder=holder_message(this_process(), ""))


class Held:
    """A holding and what it told of its loss."""

    def __init__(self, target: str, run_id: str = "r") -> None:
        self.lost: list[Stop] = []
        self.kicks = 0
        self.client = CollectorClient(target)
        self.holding = Holding(self.client, request(run_id), self.lost.append, lambda: self.client, self._kick)

    def _kick(self) -> None:
        self.kicks += 1

    def end(self) -> None:
        self.holding.end()
        self.client.close()


def test_a_lease_is_renewed_for_as_long_as_it_is_held_and_the_drain_is_looked_after(live: LiveHome) -> None:
    held = Held(live.serve(SHORT).collector.target)
    grant = held.holding.acquire()
    assert (grant.epoch, grant.attempt, grant.lease_s) == (1, 1, LEASE_S)
    wait_until(lambda: held.kicks == 7)  # three in a lease: it has been renewed past its end, twice
    assert held.holding.is_valid
    assert held.lost == []
    held.end()


def test_a_lease_is_valid_no_longer_than_it_was_asked_for(live: LiveHome) -> None:
    held = Held(live.serve(SHORT).collector.target)
    before = time.monotonic()
    held.holding.acquire()
    held.holding.end()
    wait_until(lambda: not held.holding.is_valid, 3 * LEASE_S)
    assert time.monotonic() - before < 2 * LEASE_S
    held.end()


def test_a_run_that_another_holds_is_refused(live: LiveHome) -> None:
    target = live.serve(SHORT).collector.target
    first, second = Held(target), Held(target)
    first.holding.acquire()
    with pytest.raises(RunHeld):
        second.holding.acquire()
    assert not second.holding.is_valid
    first.end()
    second.end()


def test_without_a_collector_there_is_no_grant(live: LiveHome) -> None:
    held = Held(f"unix:{live.home.root}/nobody.sock")
    with pytest.raises(Unavailable):
        held.holding.acquire()
    held.end()


def test_a_collector_that_stays_away_past_the_lease_costs_it_and_is_told_once(live: LiveHome) -> None:
    held = Held(live.serve(SHORT).collector.target)
    held.holding.acquire()
    live.inside.stop()
    wait_until(lambda: held.lost, 10)
    assert not held.holding.is_valid
    assert len(held.lost) == 1
    assert "same run id" in held.lost[0].hint
    held.end()


def test_a_collector_that_comes_back_in_time_goes_on_with_the_same_epoch(live: LiveHome) -> None:
    settings = CollectorSettings(lease_s=3.0, publish_s=0.5)
    held = Held(live.serve(settings).collector.target)
    held.holding.acquire()
    live.inside.stop()
    live.serve(settings)
    [lease] = live.inside.leases
    assert lease["epoch"] == 1
    kicks = held.kicks
    wait_until(lambda: held.kicks == kicks + 4)  # three in a lease: it has been renewed with the new collector
    assert held.holding.is_valid
    assert held.lost == []
    held.end()


FROZEN = """
import sys
import livespan.instrumentation as ls
@ls.tool
def charge(cents):
    print("charged", flush=True)
@ls.step
def think():
    print("thought", flush=True)
with ls.run("frozen") as run:
    print("open", flush=True)
    sys.stdin.readline()
    CALL
"""


@pytest.mark.parametrize("call", ["charge(1)", "think()"])
def test_a_process_that_was_frozen_past_its_lease_starts_nothing(live: LiveHome, call: str) -> None:
    live.serve(SHORT)
    agent = live.start("-c", FROZEN.replace("CALL", call))
    assert agent.stdout is not None
    assert agent.stdout.readline() == "open\n"
    os.kill(agent.pid, signal.SIGSTOP)
    wait_until(lambda: not live.inside.leases)
    with live.run("frozen") as run:  # the lease is over: another may take the run
        assert run.attempt == 2
    assert agent.stdin is not None
    agent.stdin.write("\n")
    agent.stdin.flush()
    os.kill(agent.pid, signal.SIGCONT)
    out, err = agent.communicate(timeout=20)
    assert out == ""
    assert "this process may not start anything any more" in err
    assert "any more: this process" not in err


def test_a_forked_child_goes_on_after_the_lease_that_it_was_born_with(live: LiveHome) -> None:
    live.serve(SHORT)
    told = live.program(
        """
import os, time
import livespan.instrumentation as ls
@ls.tool
def charge(cents):
    return cents
with ls.run("forked") as run:
    child = os.fork()
    if not child:
        time.sleep(1.8)
        try:
            charge(1)
            charge(2)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert told.stdout == "child ended with 0\n", told
    assert len([record for record in live.records("forked") if record.name == "charge"]) >= 2


def test_a_forked_child_starts_nothing_after_its_parents_death(live: LiveHome) -> None:
    live.serve(SHORT)
    told = live.program(
        """
import os, time
import livespan.instrumentation as ls
@ls.tool
def charge(cents):
    print("charged", flush=True)
with ls.run("orphan") as run:
    if os.fork():
        os._exit(0)
    time.sleep(1.5)
    try:
        charge(1)
    except BaseException as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
"""
    )
    assert told.stdout == "LeaseLost\n", told


@ls.step
def think() -> int:
    return 1


def test_a_run_outlives_its_collectors_restart(live: LiveHome) -> None:
    live.serve_process("--lease-s", "2")
    with live.run("restarted") as run:
        think()
        live.kill("collector")
        live.serve_process("--lease-s", "2")
        time.sleep(2.2)
        think()
        assert run.attempt == 1


def test_a_collector_that_an_agent_started_makes_way_for_one_that_somebody_starts(live: LiveHome) -> None:
    with live.run("early") as run:
        think()
        started = locate(live.home)
        assert started is not None
        assert started.embedded
        serving = live.serve_process("--grpc", "127.0.0.1:0")
        assert serving.poll() is None
        think()
        assert run.attempt == 1
    address = locate(live.home)
    assert address is not None
    assert (address.pid, address.embedded) == (serving.pid, False)
    assert live.start("-m", "livespan.collector", "serve", "--home", str(live.home.root)).wait(30) == 5
