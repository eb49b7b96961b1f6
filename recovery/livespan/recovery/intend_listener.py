"""The collector's side of the intend socket: a thread for each connection, which writes the log itself.

    loop: accept ─▶ thread: receive ─▶ admit, append, fdatasync (append_here) ─▶ reply ─▶ receive ...

A thread that waits in `recv` is woken by the kernel alone; the loop, which may be in the middle of a batch of three
megabytes, is not asked. What the messages are is proto/intend_socket.py's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from livespan.collector.context import AppendHere
from livespan.collector.home_lock import make_way
from livespan.collector.log.protocol import Appended
from livespan.proto.errors import Closed, Internal, InvalidInput, LivespanError, Stop, Unavailable
from livespan.proto.intend_socket import frame, pack_reply, receive
from livespan.proto.measured import Family, gauge
from livespan.proto.scheduling import wake_at_once
from livespan.proto.v1.livespan_pb2 import IntendRequest

__all__ = ["IntendListener"]

_MAX_CONNECTIONS: Final = 128
_END_S: Final = 1.0
_PAUSE_S: Final = 1.0
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class IntendListener:
    """Serves one socket; whoever made it closes it, on the loop that started it.

    Args:
        path: where it listens; a socket that lies there is removed.
        append_here: the way into the log.
        admission: returns what must hold when the record is appended.
    """

    def __init__(
        self, path: Path, append_here: AppendHere, admission: Callable[[IntendRequest], Callable[[], None]]
    ) -> None:
        self._path = path
        self._append_here = append_here
        self._admission = admission
        self._socket: socket.socket | None = None
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()

    async def start(self) -> None:
        """Listen; where the path is too long for a socket, callers are left with gRPC."""
        make_way(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(self._path))
        except OSError:
            listener.close()
            return
        os.chmod(self._path, 0o600)
        listener.listen(_MAX_CONNECTIONS)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        self._socket = listener

    def families(self) -> Iterator[Family]:
        """Yield what there is to count, for /metrics."""
        with self._lock:
            connections = len(self._connections)
        yield gauge("livespan_intend_connections", "Processes that are connected to the intend socket.", connections)

    async def close(self) -> None:
        """Take no more connections, end those that there are, and wait a moment for their threads."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            threads = dict(self._connections)
        for connection in threads.values():
            _end(connection)
        until_s = time.monotonic() + _END_S

        def join_all() -> None:
            for thread in threads:
                thread.join(max(0.0, until_s - time.monotonic()))

        await asyncio.to_thread(join_all)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                self._pause(listener)
            return  # else it was gone before we came
        with self._lock:
            if len(self._connections) >= _MAX_CONNECTIONS:
                connection.close()  # its caller goes on with gRPC
                return
            connection.setblocking(True)
            thread = threading.Thread(target=self._serve, args=(connection,), name="livespan-intend", daemon=True)
            self._connections[thread] = connection
            try:
                thread.start()
            except RuntimeError:  # no thread is left: as above
                del self._connections[thread]
                connection.close()

    def _pause(self, listener: socket.socket) -> None:
        """Leave who wants to connect waiting for a moment: there is no descriptor left to take him with."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def go_on() -> None:
            if listener.fileno() >= 0:
                loop.add_reader(listener, self._accept, listener)

        loop.call_later(_PAUSE_S, go_on)

    def _serve(self, connection: socket.socket) -> None:
        wake_at_once()
        try:
            while (message := receive(connection)) is not None:
                self._answer(connection, message)
        except InvalidInput as error:
            _reply(connection, error)
        except OSError:
            return  # the agent is gone; what it was told or not, the record says
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
            connection.close()

    def _answer(self, connection: socket.socket, message: bytes) -> None:
        try:
            request = IntendRequest.FromString(message)
            self._append_here(request.export, self._admission(request), partial(_reply, connection))
        except DecodeError as error:
            raise InvalidInput("this is no IntendRequest") from error
        except Closed as error:
            _reply(connection, Unavailable(error.message, hint=error.hint))  # for the agent it is one that is away
        except (LivespanError, Stop) as error:
            _reply(connection, error)


def _reply(connection: socket.socket, outcome: Appended | BaseException) -> None:
    """Send a reply without waiting: this may be the thread of another's effect, which has no time for one who does not
    read.
    """
    if isinstance(outcome, Appended):
        reply = pack_reply(outcome.first_seq + outcome.count - 1)
    elif isinstance(outcome, (LivespanError, Stop)):
        reply = pack_reply(outcome)
    else:
        reply = pack_reply(Internal(f"{type(outcome).__name__}: {outcome}"))
    framed = frame(reply)
    try:
        sent = connection.send(framed, socket.MSG_DONTWAIT)
    except OSError:
        sent = 0
    if sent < len(framed):
        _end(connection)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
