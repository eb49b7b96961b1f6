from __future__ import annotations

import json
import threading
from typing import Any

import grpc
import pytest
from tests.collector.golden_lake import foreign
from tests.livespan_home import Died, LiveHome, wait_until
from tests.recovery.command_line import command
from tests.recovery.going_away import go_away_while_it_is_recorded
from tests.recovery.test_service import FAR, SMALL, Holder, channel, refusal

import livespan.instrumentation as ls
from livespan.collector.settings import CollectorSettings
from livespan.proto.errors import Cancelled, Conflict, NotFound, RunCancelled, RunStopped
from livespan.proto.span import export_request
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub

pytestmark = pytest.mark.crash

__all__ = ["channel"]

QUICK = CollectorSettings(lease_s=2.0, publish_s=0.5)
ran: list[int] = []


@ls.tool
def charge(cents: int) -> int:
    ran.append(cents)
    return cents


@ls.step
def think(question: str) -> str:
    return question


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def cancel(channel: grpc.Channel, run_id: str, project: str = "default") -> pb.CancelReply:
    request = pb.CancelRequest(run=pb.RunRef(project=project, run_id=run_id), by="a test")
    return RecoveryStub(channel).Cancel(request, timeout=10)


def status(live: LiveHome, capsys: pytest.CaptureFixture[str], run_id: str) -> tuple[str, str]:
    """Return a run's status as `runs list` and as `runs show` have it."""
    _, listed, _ = command(live, capsys, "runs", "list", "-o", "json")
    _, shown, _ = command(live, capsys, "runs", "show", run_id, "-o", "json")
    [found] = [run["status"] for run in json.loads(listed) if run["run_id"] == run_id]
    return found, json.loads(shown)["run"]["status"]


def test_permission_ends_with_the_answer_to_cancel_over_the_socket_and_over_grpc(
    live: LiveHome, channel: grpc.Channel
) -> None:
    live.serve()
    with pytest.raises(RunStopped) as stopped, live.run("now"):
        charge(1)
        assert cancel(channel, "now").held
        with pytest.raises(Cancelled):
            charge(2)
        with pytest.raises(Cancelled):
            think("it is sticky, and so for what needs no permission")
    assert isinstance(stopped.value.cause, Cancelled)
    assert ran == [1], "the second was refused at the intend socket, before any renewal"
    holder = Holder(channel)
    epoch = holder.ask().epoch
    assert cancel(channel, "r", "p").held
    late = pb.IntendRequest(run=holder.run, epoch=epoch, export=_span())
    assert isinstance(refusal(RecoveryStub(channel).Intend, late), Cancelled)
    assert holder.ask().cancelled, "a renewal says it"


def _span() -> bytes:
    from tests.collector.stand import Writer, node, request

    return request(Writer().started(node(1)))


def test_a_holder_that_asks_for_nothing_is_told_at_its_next_renewal(
    live: LiveHome, channel: grpc.Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    live.serve(QUICK)
    told = threading.Event()

    def steps() -> None:
        for number in range(10_000):
            think(str(number))
            told.wait(0.01)

    with pytest.raises(RunStopped) as stopped, live.run("told"):
        think("a")
        cancel(channel, "told")
        steps()
    assert isinstance(stopped.value.cause, Cancelled)
    history = live.inside.history("told")
    assert history is not None
    assert history.root_ends == [], "it did not end: it was stopped"
    assert status(live, capsys, "told") == ("cancelled", "cancelled")


def test_whoever_asks_and_goes_away_has_cancelled_all_the_same(
    live: LiveHome, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve(SMALL)
    holder = Holder(channel)
    assert holder.ask().epoch == 1
    wait_until(lambda: RecoveryStub(channel).Standing(pb.StandingRequest(run=holder.run)).HasField("holder"))
    request = pb.CancelRequest(run=holder.run, by="a test")
    untyped: Any = RecoveryStub(channel).Cancel
    go_away_while_it_is_recorded(monkeypatch, channel, holder.run, lambda: untyped.future(request))
    wait_until(lambda: holder.ask().cancelled)


def test_a_cancelled_run_is_not_opened_again_unless_it_is_begun_anew(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    with pytest.raises(RunStopped), live.run("dead"):
        think("a")
        raise Died
    assert not cancel(channel, "dead").held
    assert cancel(channel, "dead").log_seq == cancel(channel, "dead").log_seq, "said again it is the same record"
    for _ in range(2):
        with pytest.raises(RunCancelled, match="a test") as refused, live.run("dead"):
            think("never")
        assert "if_finished" in refused.value.hint
    with live.run("dead", if_finished="new") as run:
        assert (run.attempt, run.finished, think("a"), run.executed) == (1, False, "a", 1)
    with live.run("dead") as run:
        assert (run.finished, think("a")) == (True, "a"), "the new generation is a run like any other"


def test_a_run_that_is_done_cannot_be_cancelled_and_one_that_is_not_there_is_not_found(
    live: LiveHome, channel: grpc.Channel
) -> None:
    live.serve()
    with live.run("done"):
        think("a")
    stub = RecoveryStub(channel)
    done = pb.CancelRequest(run=pb.RunRef(project="default", run_id="done"))
    assert isinstance(refusal(stub.Cancel, done), Conflict)
    none = pb.CancelRequest(run=pb.RunRef(project="default", run_id="none"))
    assert isinstance(refusal(stub.Cancel, none), NotFound)
    live.inside.call(live.inside.context.append(export_request([foreign()])))
    theirs = pb.CancelRequest(run=pb.RunRef(project="shop", run_id="theirs"))
    assert "Livespan does not run" in str(refusal(stub.Cancel, theirs))
    with live.run("done") as run:
        assert (think("a"), run.reused) == ("a", 1)


def test_a_run_that_comes_to_its_end_before_it_is_told_is_done(
    live: LiveHome, channel: grpc.Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    live.serve()
    with live.run("nearly"):
        think("a")
        assert cancel(channel, "nearly").held
    assert status(live, capsys, "nearly") == ("done", "done")
    with live.run("nearly") as run:
        assert (run.finished, think("a"), run.reused) == (True, "a", 1), "its answers are still to be had"


def test_a_restarted_collector_knows_who_was_cancelled(live: LiveHome, channel: grpc.Channel) -> None:
    live.serve()
    holder = Holder(channel, FAR)
    assert holder.ask().epoch == 1
    assert cancel(channel, "r", "p").held
    live.inside.stop()
    live.serve()
    assert Holder(channel, FAR).ask(epoch=1).cancelled
    late = pb.IntendRequest(run=holder.run, epoch=1, export=_span())
    assert isinstance(refusal(RecoveryStub(channel).Intend, late), Cancelled)


def test_a_cancellation_outlives_its_log_segment(live: LiveHome, channel: grpc.Channel) -> None:
    from tests.collector.stand import Writer, node, request

    live.serve(SMALL)
    with pytest.raises(RunStopped), live.run("dead"):
        raise Died
    cancel(channel, "dead")
    holder = Holder(channel, FAR)
    assert holder.ask().epoch == 1
    seq = cancel(channel, "r", "p").log_seq
    writer = Writer(run_id="busy")
    for number in range(1, 60):
        payload = request(writer.started(node(number)), writer.ended(node(number), b'"' + b"x" * 8000 + b'"'))
        live.inside.call(live.inside.context.append(payload))
    log = live.inside.collector._log  # pyright: ignore[reportPrivateUsage]  # a test looks inside
    wait_until(lambda: next(iter(log.frames(0))).first_seq > seq)
    live.kill("drain")  # else it starts a collector of its own as soon as this one is gone
    live.inside.stop()
    live.serve(SMALL)
    assert Holder(channel, FAR).ask(epoch=1).cancelled, "the live lease was said again, cancelled"
    with pytest.raises(RunCancelled), live.run("dead"):
        think("never")


def test_the_command_says_what_follows(live: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    live.serve()
    with pytest.raises(RunStopped), live.run("order-17"):
        think("a")
        raise Died
    code, out, err = command(live, capsys, "cancel", "order-17")
    assert (code, out) == (0, "")
    assert "order-17 is cancelled" in err
    code, out, err = command(live, capsys, "cancel", "order")
    assert (code, "order-17 that you mean" in err) == (2, True)
    code, out, _ = command(live, capsys, "cancel", "@last", "-o", "json")
    assert json.loads(out) == {"run_id": "order-17", "project": "default", "cancelled": True, "held": False}
    _, line, _ = command(live, capsys, "cancel", "order-17", "-o", "jsonl")
    assert (json.loads(line), line.count("\n")) == (json.loads(out), 1)
    assert status(live, capsys, "order-17") == ("cancelled", "cancelled")
    assert command(live, capsys, "cancel", "none")[0] == 3


# On whose behalf.


def test_a_runs_user_is_shown_and_can_be_asked_for(live: LiveHome, capsys: pytest.CaptureFixture[str]) -> None:
    live.serve()
    with ls.run("theirs", user="ann", home=live.home.root):
        think("a")
    with live.run("nobodys"):
        think("a")
    for published in (False, True):
        if published:
            live.kill("drain")  # else it starts a collector of its own as soon as this one is gone
            live.inside.stop()
            live.serve()
        _, out, _ = command(live, capsys, "runs", "show", "theirs", "-o", "json")
        assert json.loads(out)["run"]["user"] == "ann"
        assert "user ann" in command(live, capsys, "runs", "show", "theirs")[1]
        _, out, _ = command(live, capsys, "runs", "show", "nobodys", "-o", "json")
        assert json.loads(out)["run"]["user"] == ""
        _, out, _ = command(live, capsys, "sql", "SELECT run_id FROM runs WHERE user_id = 'ann'", "-o", "json")
        assert json.loads(out) == [{"run_id": "theirs"}]
