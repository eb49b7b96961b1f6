"""The agent's side of the intend socket: connections that wait to be used again, one for each thread that asks at
the same time. The messages are proto/intend_socket.py's; client.py decides between this and gRPC.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from livespan.proto.errors import InvalidInput, Unavailable
from livespan.proto.intend_socket import frame, receive, unpack_reply

__all__ = ["IntendConnections"]

_KEPT: Final = 4


class IntendConnections:
    """Connections of this process to one collector's intend socket. Thread-safe; not to be used across a fork."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._idle: list[socket.socket] = []

    def ask(self, request: bytes, timeout_s: float) -> int | None:
        """Return the `log_seq` of an effect's start once it is acknowledged, None where the socket does not serve.

        Args:
            request: a serialised IntendRequest.
            timeout_s: for each of connecting, sending and the answer.

        A child that was forked in here by a signal handler is not answered in its parent's place.

        Raises:
            LivespanError or Stop: what the collector answered; Unavailable where it did not in time.
        """
        process = os.getpid()
        connection = self._take(timeout_s)
        if connection is None:
            return None
        try:
            connection.sendall(frame(request))
            reply = receive(connection)
        except TimeoutError as error:
            connection.close()
            raise Unavailable(
                f"the collector did not answer within {timeout_s:g} s",
                subject=self._path,
                hint="Is its disk busy, or is it stopped? `livespan doctor` tells.",
            ) from error
        except (OSError, InvalidInput):
            reply = None
        if os.getpid() != process:
            connection.close()
            raise Unavailable("this process was forked while its parent asked", subject=self._path)
        if reply is None:
            connection.close()
            self.close()  # the others lead to the same collector, which has ended
            return None
        if len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        try:
            return unpack_reply(reply)
        except DecodeError:
            return None

    def close(self) -> None:
        """Close what is not in use."""
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        # Nobody closes a client that gave way to another one, since a call of it may be under way.
        self.close()

    def _take(self, timeout_s: float) -> socket.socket | None:
        with suppress(IndexError):
            kept = self._idle.pop()
            if kept.gettimeout() != timeout_s:
                kept.settimeout(timeout_s)
            return kept
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None  # no descriptor is left
        try:
            connection.settimeout(timeout_s)
            connection.connect(self._path)
        except OSError:
            connection.close()
            return None
        return connection
