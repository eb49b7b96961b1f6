"""What waits for the backend: requests in the order of the log, bounded by bytes; the oldest give way."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from livespan.proto.otlp import Request

__all__ = ["Queue", "Waiting"]


class Waiting(NamedTuple):
    """A request that waits: its spans are `last_seq` and those before it."""

    request: Request
    size_bytes: int
    last_seq: int
    spans: int


class Queue:
    """Thread-safe; `put` never waits. `take` is one thread's.

    Attributes:
        dropped_spans: spans (records) of requests that gave way.
        overflows: how often something gave way; who tries for long to send what it took looks at it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.dropped_spans = 0
        self.overflows = 0
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._closed = False

    @property
    def size_bytes(self) -> int:
        """What waits."""
        return self._bytes

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self._closed

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def put(self, waiting: Waiting) -> None:
        """Add a request; where there is no room the oldest go, or this one if it is larger than the whole queue."""
        with self._changed:
            if self._bytes + waiting.size_bytes > self._limit_bytes:
                self.overflows += 1
            while self._waiting and self._bytes + waiting.size_bytes > self._limit_bytes:
                gone = self._waiting.popleft()
                self._bytes -= gone.size_bytes
                self.dropped_spans += gone.spans
            if waiting.size_bytes > self._limit_bytes:
                self.dropped_spans += waiting.spans
                return
            self._waiting.append(waiting)
            self._bytes += waiting.size_bytes
            self._changed.notify()

    def take(self, timeout_s: float) -> Waiting | None:
        """Return the oldest request, waiting for one; None where none came in time, or it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if not self._waiting:
                return None
            waiting = self._waiting.popleft()
            self._bytes -= waiting.size_bytes
            return waiting

    def close(self) -> None:
        """Let who takes not wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
