"""The socket beside the collector's own on which `Recovery.Intend` is spoken without gRPC, for one machine.

    <socket>.intend     a unix stream socket; one request, one reply, then the next
    request             length (4 bytes, big-endian) ‖ IntendRequest
    reply               length (4 bytes, big-endian) ‖ 0 ‖ IntendReply    or    length ‖ 1 ‖ ErrorDetail

An empty gRPC call between two Python processes takes half a millisecond and more, which every effect would wait; this
takes a fraction of it (`make bench` has both). It is a shortcut, not a second contract: the messages are the service's,
and whoever cannot use it (another machine, no such socket, a connection that broke) calls the service. Asking twice is
safe, as the record is the same one. LivespanSaver's records, which start nothing and need no permission, take it too.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from livespan.proto.errors import InvalidInput, LivespanError, Stop
from livespan.proto.rpc import MAX_MESSAGE_BYTES, detail, from_detail
from livespan.proto.v1.livespan_pb2 import IntendReply

__all__ = ["frame", "intend_path", "pack_reply", "receive", "unpack_reply"]

_LENGTH: Final = struct.Struct(">I")
_GRANTED: Final = b"\0"
_REFUSED: Final = b"\1"
_CHUNK: Final = 256 * 1024
_FIRST: Final = 16 * 1024
"""Room that is had at once; of more, each message would take memory of the kernel's and give it back."""
_UNIX: Final = "unix:"


def intend_path(target: str) -> Path | None:
    """Return the path of the socket that belongs to a gRPC target, None where that is no unix socket."""
    return Path(f"{target.removeprefix(_UNIX)}.intend") if target.startswith(_UNIX) else None


def frame(message: bytes) -> bytes:
    """Return a message as it is sent."""
    return _LENGTH.pack(len(message)) + message


def receive(connection: socket.socket) -> bytes | None:
    """Return the next message, None where the other side has closed.

    Raises:
        InvalidInput: it is longer than 64 MB, or more than one message was sent at once.
        OSError: the connection broke, or ended within a message.
    """
    head = connection.recv(_FIRST)
    if not head:
        return None
    while len(head) < _LENGTH.size:
        head += _more(connection, _CHUNK)
    size = _LENGTH.unpack_from(head)[0]
    if size > MAX_MESSAGE_BYTES:
        raise InvalidInput(f"a message of {size} bytes is more than the {MAX_MESSAGE_BYTES} that are taken")
    if len(head) == _LENGTH.size + size:
        return head[_LENGTH.size :]
    if len(head) > _LENGTH.size + size:
        raise InvalidInput("a second message before the first was answered")
    message = bytearray(head[_LENGTH.size :])  # grows with what has come, not with what was announced
    while len(message) < size:
        message += _more(connection, min(size - len(message), _CHUNK))
    return bytes(message)


def pack_reply(outcome: int | LivespanError | Stop) -> bytes:
    """Return the reply for a record's `log_seq`, or for why it was refused."""
    if isinstance(outcome, int):
        return _GRANTED + IntendReply(log_seq=outcome).SerializeToString()
    return _REFUSED + detail(outcome)


def unpack_reply(reply: bytes) -> int:
    """Return the `log_seq` of a reply, or raise the error that it holds; DecodeError where it is none."""
    if reply[:1] == _GRANTED:
        return IntendReply.FromString(reply[1:]).log_seq
    if reply[:1] != _REFUSED:
        raise DecodeError("this is no reply")
    raise from_detail(reply[1:])


def _more(connection: socket.socket, size: int) -> bytes:
    part = connection.recv(size)
    if not part:
        raise ConnectionError("the connection ended within a message")
    return part
