"""What the collector and a process that runs a user's statement say to each other, over a socket pair.

    process                       collector
      Ready ─────────────────────────▶        its database is open, over nothing yet
      ◀───────────────────────── Ask          the statement
      Wanted ────────────────────────▶        it may be run; which runs it is about
      ◀──────────────────────── Over          the files, a descriptor with the unpublished rows
      Rows ──────────────────────────▶        the first rows; `last` where there are no more
      ◀──────────────────────── More          as long as rows are wanted
      Rows ──────────────────────────▶ ...
      Ready                                   for the next statement, with a new database

In place of Rows there may be one Refusal. A message is two lengths (4 bytes each, little-endian), its JSON, its bytes.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from livespan.proto.errors import Damaged, ErrorKind, Internal, InvalidInput, LivespanError, Unavailable

__all__ = [
    "MOST_ROW_BYTES",
    "Ask",
    "Frame",
    "Message",
    "More",
    "Over",
    "Ready",
    "Refusal",
    "Rows",
    "Wanted",
    "receive",
    "send",
]

MOST_ROW_BYTES: Final = 128 * 1024 * 1024
"""Of one row: the largest value that can be recorded fits, as base64."""
_MOST_BYTES: Final = MOST_ROW_BYTES + 1024 * 1024
"""Of a message; a process that announces more is out of its mind."""
_LENGTHS: Final = struct.Struct("<II")
_ERRORS: Final[dict[str, type[LivespanError]]] = {
    ErrorKind.INVALID: InvalidInput,
    ErrorKind.UNAVAILABLE: Unavailable,
    ErrorKind.DAMAGED: Damaged,
}


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The process waits for a statement."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A statement is to be run."""

    sql: str


class Wanted(msgspec.Struct, frozen=True, tag=True):
    """The statement may be run, over a snapshot that has these run ids at the least; None: all of them. `content`: it
    reads large values, too.
    """

    runs: list[str] | None
    content: bool


class Over(msgspec.Struct, frozen=True, tag=True):
    """Run it over these files, and over the rows that the descriptor beside it holds (an Arrow stream). `touched` is as
    in snapshots.Snapshot.
    """

    nodes: list[str]
    content: list[str]
    touched: list[str] | None


class More(msgspec.Struct, frozen=True, tag=True):
    """Further rows are wanted."""


class Rows(msgspec.Struct, frozen=True, tag=True):
    """Rows of the answer; the message's bytes are a JSON list of them. `columns` are those of every row."""

    columns: list[str]
    count: int
    last: bool


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """Why there is no answer, or no more of it."""

    kind: str
    message: str
    subject: str
    hint: str

    @classmethod
    def of(cls, error: LivespanError) -> Refusal:
        """Return an error as it is sent."""
        return cls(error.kind.value, error.message, error.subject, error.hint)

    def error(self) -> LivespanError:
        """Return the error that was sent."""
        return _ERRORS.get(self.kind, Internal)(self.message, subject=self.subject, hint=self.hint)


Message: TypeAlias = Ready | Ask | Wanted | Over | More | Rows | Refusal
_DECODER: Final = msgspec.json.Decoder(Message)


@dataclass(frozen=True, slots=True)
class Frame:
    """A message, the bytes beside it, and the descriptors that came with it, which the receiver closes."""

    message: Message
    data: bytes = b""
    descriptors: list[int] = field(default_factory=list[int])


def send(to: socket.socket, message: Message, data: bytes = b"", descriptor: int | None = None) -> None:
    """Send a message, bytes beside it, and a descriptor.

    Raises:
        OSError: the other side is gone, or takes nothing within the socket's timeout.
    """
    head = msgspec.json.encode(message)
    lengths = _LENGTHS.pack(len(head), len(data))
    if descriptor is None:
        to.sendall(lengths + head)
    else:
        sent = socket.send_fds(to, [lengths], [descriptor])
        to.sendall(lengths[sent:] + head)
    if data:
        to.sendall(data)


def receive(of: socket.socket, most_descriptors: int = 0) -> Frame:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone.
        OSError: so it is, or nothing came within the socket's timeout (TimeoutError).
        ValueError: what came is no message.
    """
    lengths, descriptors, _, _ = socket.recv_fds(of, _LENGTHS.size, most_descriptors)
    try:
        head, data = _LENGTHS.unpack(lengths + _exactly(of, _LENGTHS.size - len(lengths)))
        if head + data > _MOST_BYTES:
            raise ValueError(f"a message of {head + data} bytes")
        return Frame(_DECODER.decode(_exactly(of, head)), _exactly(of, data), descriptors)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _exactly(of: socket.socket, size: int) -> bytes:
    held = bytearray(size)
    view = memoryview(held)
    while view:
        got = of.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return bytes(held)
