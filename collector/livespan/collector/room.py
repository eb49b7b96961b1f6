"""How many bytes of requests may be under way at once: the bound of what a receiver holds in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from livespan.proto.errors import Unavailable

__all__ = ["Room", "Share"]


class Room:
    """A number of bytes that requests share. Thread-safe.

    Args:
        refused: called when a request does not get what it asked for.
    """

    def __init__(self, size_bytes: int, refused: Callable[[], None] = lambda: None) -> None:
        self._size_bytes = size_bytes
        self._refused = refused
        self._taken_bytes = 0
        self._lock = threading.Lock()

    @property
    def taken_bytes(self) -> int:
        """What is taken now."""
        return self._taken_bytes

    def share(self) -> Share:
        """Return a share that has nothing yet, for a `with` block."""
        return Share(self)

    def take(self, size_bytes: int, own_bytes: int = 0) -> None:
        """Take bytes; a request that is alone always gets them, however many, or it could never be taken.

        Args:
            size_bytes: how many more.
            own_bytes: what the request has already.

        Raises:
            Unavailable: others have them.
        """
        with self._lock:
            others_bytes = self._taken_bytes - own_bytes
            if others_bytes and self._taken_bytes + size_bytes > self._size_bytes:
                self._refused()
                raise Unavailable(
                    f"other requests of {others_bytes} bytes are under way and few more may be",
                    hint="Send it again in a moment.",
                )
            self._taken_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._taken_bytes -= size_bytes


class Share:
    """What one request has of the room; given back at the end of the `with` block."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_error: object) -> None:
        self._room.give(self._bytes)

    def take(self, size_bytes: int) -> None:
        """Take so many bytes more; raises as `Room.take`."""
        self._room.take(size_bytes, self._bytes)
        self._bytes += size_bytes
