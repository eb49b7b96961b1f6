"""What a model server has seen, per conversation label, and the requests that it holds back.

    arrived --> (held until released) --> answering --> answered   (last byte flushed)
                     |                        |
                     +--> abandoned <---------+         (the client went away first)

A request is known by its label and its number among the label's requests, from 1. Here is no HTTP
(model_server.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import msgspec

__all__ = ["Counts", "Traffic"]

_LOOK_S: Final = 0.05
"""How often a held request looks whether its client is still there."""
_SETTLE_S: Final = 5.0


class Counts(msgspec.Struct, frozen=True):
    """The requests of one label. `held` are the numbers of those that wait for a release now."""

    requests: int = 0
    answers: int = 0
    refused: int = 0
    abandoned: int = 0
    held: tuple[int, ...] = ()


class _Tally:
    __slots__ = ("abandoned", "answers", "held", "refused", "requests", "to_hold")

    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.refused = 0
        self.abandoned = 0
        self.held: set[int] = set()
        self.to_hold: set[int] = set()

    def counts(self) -> Counts:
        held = tuple(sorted(self.held))
        return Counts(self.requests, self.answers, self.refused, self.abandoned, held)


class Traffic:
    """Counts and holds, shared by the threads that answer. Every wait has a bound."""

    def __init__(self, *, hold_limit_s: float = 60.0) -> None:
        self._changed = threading.Condition()
        self._tallies: dict[str, _Tally] = {}
        self._answering = 0
        self._hold_limit_s = hold_limit_s

    def arrive(self, label: str) -> int:
        """Count a request; return its number."""
        with self._changed:
            tally = self._tally(label)
            tally.requests += 1
            return tally.requests

    def refuse(self, label: str) -> None:
        """Count a request that was answered with an error."""
        with self._changed:
            self._tally(label).refused += 1

    def wait_for_turn(self, label: str, number: int, gone: Callable[[], bool]) -> bool:
        """Wait while a request is held; return False if its client left or the limit is reached."""
        deadline = time.monotonic() + self._hold_limit_s
        with self._changed:
            tally = self._tally(label)
            if number not in tally.to_hold:
                return True
            tally.held.add(number)
            self._changed.notify_all()
            try:
                while number in tally.to_hold:
                    if gone() or time.monotonic() >= deadline:
                        tally.abandoned += 1
                        return False
                    self._changed.wait(_LOOK_S)
                return True
            finally:
                tally.held.discard(number)
                self._changed.notify_all()

    @contextmanager
    def answering(self, label: str) -> Generator[None]:
        """Count an answer when the block ends, or an abandoned request if the block raises."""
        with self._changed:
            self._answering += 1
        whole = False
        try:
            yield
            whole = True
        finally:
            with self._changed:
                tally = self._tally(label)
                if whole:
                    tally.answers += 1
                else:
                    tally.abandoned += 1
                self._answering -= 1
                self._changed.notify_all()

    def hold(self, label: str, number: int) -> None:
        """Hold back request `number` of the label, from its arrival until it is released."""
        with self._changed:
            self._tally(label).to_hold.add(number)

    def release(self, label: str, number: int | None = None) -> None:
        """Let request `number` go on, or all of the label's."""
        with self._changed:
            to_hold = self._tally(label).to_hold
            if number is None:
                to_hold.clear()
            else:
                to_hold.discard(number)
            self._changed.notify_all()

    def release_all(self) -> None:
        """Let every held request go on, as at the server's end."""
        with self._changed:
            for tally in self._tallies.values():
                tally.to_hold.clear()
            self._changed.notify_all()

    def counts(self) -> dict[str, Counts]:
        """Return the counts per label.

        A client may have read an answer's last byte before the writing thread has counted it; so
        this waits until no answer is being written (5 s at most), and whoever has its answer
        finds it counted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._answering == 0, _SETTLE_S)
            return {label: tally.counts() for label, tally in sorted(self._tallies.items())}

    def wait_held(self, label: str, number: int, *, timeout_s: float = 10.0) -> bool:
        """Wait until request `number` has arrived and is held; return whether it is."""
        with self._changed:
            tally = self._tally(label)
            return self._changed.wait_for(lambda: number in tally.held, timeout_s)

    def _tally(self, label: str) -> _Tally:
        return self._tallies.setdefault(label, _Tally())
