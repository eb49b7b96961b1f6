"""The intend socket of a real collector, spoken to by hand and by the agent's own client."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.collector.log.protocol import Appended, FrameRef
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.intend_connections import IntendConnections
from livespan.proto.errors import EffectUnavailable, InvalidInput, LeaseLost, Unavailable
from livespan.proto.intend_socket import frame, receive, unpack_reply
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.recovery import intend_listener
from livespan.recovery.intend_listener import IntendListener

RUN = pb.RunRef(project="p", run_id="r")
EXPORT = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(trace_id=b"t" * 16, span_id=b"s" * 8)])])]
).SerializeToString()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


@pytest.fixture
def path(live: LiveHome) -> Path:
    live.serve()
    return live.home.root / "collector.sock.intend"


@ls.tool
def charge(amount: int) -> int:
    """An effect."""
    return amount


def test_effects_take_the_socket_where_there_is_one_and_grpc_where_there_is_none(live: LiveHome, path: Path) -> None:
    asked: list[int | None] = []
    ask = IntendConnections.ask

    def noted(self: IntendConnections, request: bytes, timeout_s: float) -> int | None:
        asked.append(ask(self, request, timeout_s))
        return asked[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IntendConnections, "ask", noted)
        with live.run("r"):
            assert (charge(1), charge(2)) == (1, 2)
            assert None not in asked

            def unserved(self: IntendConnections, request: bytes, timeout_s: float) -> None:
                asked.append(None)

            patch.setattr(IntendConnections, "ask", unserved)
            assert charge(3) == 3
            assert asked[-1] is None
    found = live.inside.history("r")
    assert found is not None
    assert sum(1 for newest, _ in found.calls.values() if newest.ended_ns and newest.name == "charge") == 3


def test_it_is_for_its_owner_alone_and_goes_with_the_collector(live: LiveHome, path: Path) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    connection = connect(path)
    live.inside.stop()
    assert connection.recv(1) == b""
    connection.close()
    assert not path.exists()


def test_an_epoch_that_holds_nothing_is_refused_and_the_connection_goes_on(path: Path) -> None:
    request = pb.IntendRequest(run=RUN, epoch=9, export=EXPORT)
    with connect(path) as connection:
        for _ in range(2):
            connection.sendall(frame(request.SerializeToString()))
            with pytest.raises(LeaseLost):
                unpack_reply(receive(connection) or b"")


@pytest.mark.parametrize(
    ("message", "goes_on"),
    [
        (pb.IntendRequest(run=RUN, epoch=1).SerializeToString(), True),
        (pb.IntendRequest(run=RUN, export=b"\xff\xff").SerializeToString(), True),
        (b"\xff" * 20, False),
    ],
)
def test_garbage_is_told_that_it_is(path: Path, message: bytes, goes_on: bool) -> None:
    with connect(path) as connection:
        connection.sendall(frame(message))
        with pytest.raises(InvalidInput):
            unpack_reply(receive(connection) or b"")
        if goes_on:
            connection.sendall(frame(message))
            assert receive(connection)
        else:
            assert connection.recv(1) == b""


def test_a_client_without_the_socket_or_an_answer_says_so(tmp_path: Path) -> None:
    gone = IntendConnections(tmp_path / "none")
    assert gone.ask(b"", 1.0) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        silent = IntendConnections(tmp_path / "s")
        with pytest.raises(Unavailable, match="did not answer within"):
            silent.ask(b"x", 0.05)
        silent.close()


def test_a_connection_that_broke_since_its_last_use_serves_no_more_and_is_no_error(live: LiveHome, path: Path) -> None:
    connections = IntendConnections(path)
    request = pb.IntendRequest(run=RUN, epoch=9, export=EXPORT).SerializeToString()
    with pytest.raises(LeaseLost):
        connections.ask(request, 5.0)
    live.inside.stop()
    assert connections.ask(request, 5.0) is None
    connections.close()


def test_one_connection_more_than_it_takes_is_closed_at_once(path: Path) -> None:
    connections: list[socket.socket] = []
    try:
        connections.extend(connect(path) for _ in range(129))
        assert connections[-1].recv(1) == b""
        connections[0].sendall(frame(b""))
        assert receive(connections[0])
    finally:
        for connection in connections:
            connection.close()


async def test_one_who_does_not_read_its_answers_is_cut_off_and_holds_up_nobody(tmp_path: Path) -> None:
    answered = threading.Event()

    def append_here(payload: bytes, admit: Callable[[], None] | None, answer: Callable[..., None]) -> None:
        del payload, admit
        for number in range(20_000):
            answer(Appended(FrameRef(0, 0, 0, 0), number, 1))
        answered.set()

    listener = IntendListener(tmp_path / "s", append_here, lambda request: lambda: None)
    await listener.start()
    with connect(tmp_path / "s") as connection:
        connection.sendall(frame(pb.IntendRequest(epoch=1).SerializeToString()))
        assert await asyncio.to_thread(answered.wait, 10), "who writes the log has waited for one who does not read"
        replies = 0
        while part := await asyncio.to_thread(connection.recv, 1 << 20):
            replies += part.count(b"\0\x08")
        assert replies < 20_000, "it was cut off"
    await listener.close()


async def test_a_path_too_long_for_a_socket_leaves_callers_with_grpc(tmp_path: Path) -> None:
    def append_here(payload: bytes, admit: Callable[[], None] | None, answer: Callable[..., None]) -> None:
        raise AssertionError("nobody can ask")

    long = tmp_path / ("x" * 120)
    listener = IntendListener(long, append_here, lambda request: lambda: None)
    await listener.start()
    await listener.close()
    assert not long.exists()


async def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    listener = IntendListener(tmp_path / "s", _unreachable, lambda request: lambda: None)
    with pytest.raises(InvalidInput, match="something else"):
        await listener.start()
    await listener.close()
    assert (tmp_path / "s").read_text() == "mine"


async def test_without_a_thread_the_connection_is_closed_and_the_next_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    def no_thread(thread: threading.Thread) -> None:
        tried.set()
        raise RuntimeError("can't start new thread")

    listener = IntendListener(tmp_path / "s", _unreachable, lambda request: lambda: None)
    await listener.start()
    with monkeypatch.context() as patch, connect(tmp_path / "s") as refused:
        patch.setattr(threading.Thread, "start", no_thread)
        await asyncio.wait_for(tried.wait(), 10)
        patch.undo()
        assert await asyncio.to_thread(refused.recv, 1) == b""
    with connect(tmp_path / "s") as served:
        served.sendall(frame(b"\xff" * 20))
        assert await asyncio.to_thread(receive, served)
    await listener.close()


async def test_without_a_descriptor_the_listener_waits_and_does_not_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intend_listener, "_PAUSE_S", 0.05)
    calls: list[int] = []
    accept = socket.socket.accept

    def full(listener: socket.socket) -> tuple[socket.socket, object]:
        calls.append(1)
        if len(calls) < 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    listener = IntendListener(tmp_path / "s", _unreachable, lambda request: lambda: None)
    await listener.start()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", full)
        with connect(tmp_path / "s") as served:
            served.sendall(frame(b"\xff" * 20))
            assert await asyncio.to_thread(receive, served)
    assert len(calls) == 4
    await listener.close()


def test_an_effect_for_which_no_descriptor_is_left_is_refused_for_good(
    live: LiveHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.serve()

    def none_left(self: CollectorClient, *told: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(CollectorClient, "intend", none_left)
    made: list[int] = []

    @ls.tool
    def pay(amount: int) -> None:
        made.append(amount)

    with pytest.raises(ls.RunStopped) as stopped, live.run("r"):
        for amount in (1, 2):
            try:
                pay(amount)
            except Exception as swallowed:
                raise AssertionError("an effect that was not started looks like one that failed") from swallowed
    assert isinstance(stopped.value.cause, EffectUnavailable)
    assert made == []


def test_a_reply_that_is_none_leads_to_grpc(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def answer() -> None:
            served, _ = listener.accept()
            with served:
                receive(served)
                served.sendall(frame(b"\7what"))

        thread = threading.Thread(target=answer)
        thread.start()
        connections = IntendConnections(tmp_path / "s")
        assert connections.ask(b"x", 5.0) is None
        thread.join(10)
        connections.close()


def _unreachable(payload: bytes, admit: Callable[[], None] | None, answer: Callable[..., None]) -> None:
    raise AssertionError("nobody asks")
