from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from livespan.proto.errors import InvalidInput, LeaseLost, Unavailable
from livespan.proto.intend_socket import frame, intend_path, pack_reply, receive, unpack_reply
from livespan.proto.rpc import MAX_MESSAGE_BYTES


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        other.settimeout(10)
        yield one, other


@pytest.mark.parametrize("size", [0, 1, 3_000, 3 << 20])
def test_a_message_of_any_size_arrives_whole(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    message = bytes(range(251)) * (size // 251 + 1)
    sender = threading.Thread(target=pair[0].sendall, args=(frame(message[:size]),))
    sender.start()
    assert receive(pair[1]) == message[:size]
    sender.join(10)


def test_a_message_that_comes_byte_by_byte_arrives_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    def drip() -> None:
        for byte in frame(b"slowly"):
            pair[0].sendall(bytes((byte,)))

    sender = threading.Thread(target=drip)
    sender.start()
    assert receive(pair[1]) == b"slowly"
    sender.join(10)


def test_an_end_between_messages_is_none_and_within_one_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(frame(b"whole") + b"")
    assert receive(pair[1]) == b"whole"
    pair[0].sendall(frame(b"torn")[:-1])
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError, match="within a message"):
        receive(pair[1])
    assert receive(pair[1]) is None


def test_too_long_a_message_and_two_at_once_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(InvalidInput, match="more than"):
        receive(pair[1])
    pair[0].sendall(frame(b"one") + frame(b"two"))
    with pytest.raises(InvalidInput, match="second message"):
        receive(pair[1])


def test_replies_carry_the_sequence_number_or_the_very_error() -> None:
    assert unpack_reply(pack_reply(2**40)) == 2**40
    with pytest.raises(LeaseLost, match="epoch 2") as lost:
        unpack_reply(pack_reply(LeaseLost("epoch 2 holds it", subject="run r", hint="start again")))
    assert (lost.value.subject, lost.value.hint) == ("run r", "start again")
    with pytest.raises(Unavailable):
        unpack_reply(pack_reply(Unavailable("full")))


def test_only_a_unix_target_has_one() -> None:
    assert intend_path("unix:/home/u/collector.sock") == Path("/home/u/collector.sock.intend")
    assert intend_path("127.0.0.1:4317") is None
