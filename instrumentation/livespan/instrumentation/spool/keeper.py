"""The keeper: the thread that makes each writer's next segment ahead of time, and lets go of acknowledged ones.

It makes segments without the lock that guards the writers (allocating and faulting in 16 MiB takes milliseconds, in
which it takes the processor from nobody), and offers each under it. What the writer had to make itself meanwhile is
small, and comes before it in the stream.

It is started and nudged from within appends, which may run in a signal handler or in `__del__`: so it is a bare
`_thread` thread (`threading.Thread.start` takes locks that the interrupted code may hold) and its bell is a
`SimpleQueue` (whose `put` is re-entrant by contract). It ends with the process, or when its spool is closed.
Without it appends make their segments themselves.
"""

from __future__ import annotations

import _thread
import queue
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from livespan.instrumentation.spool.segment import Segment
from livespan.instrumentation.spool.writer import SpoolWriter
from livespan.proto.scheduling import taking_turns

__all__ = ["Keeper", "Kept"]

_FIRST_RETRY_S: Final = 0.01
_LAST_RETRY_S: Final = 0.5

T = TypeVar("T")


class Kept(Protocol):
    """What the keeper keeps: writers, guarded by the lock and then by entering this. Nobody flushes or closes it
    here."""

    closed: bool
    writers: dict[int, SpoolWriter]

    def guarded(self, work: Callable[[int], T]) -> T:
        """Do `work` while no append can be under way."""
        ...


class Keeper:
    """One thread per process and spool. `failures` counts what it could not do and did not expect."""

    __slots__ = ("_bell", "_kept", "_started", "failures")

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._started = False
        self.failures = 0

    def start(self) -> None:
        """Start the thread if it is not running; where the interpreter is going down, do without."""
        self.nudge()
        if not self._started:
            self._started = True
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:
                self._started = False

    def nudge(self) -> None:
        """Say that a segment was used up. Never blocks."""
        self._bell.put(None)

    def _run(self) -> None:
        retry_s: float | None = None
        while True:
            try:
                self._bell.get(timeout=retry_s)
                retry_s = None
            except queue.Empty:
                pass
            if self._kept.closed:
                return
            try:
                content = self._tend_all()
            except Exception:  # noqa: BLE001 - the thread's border
                self.failures += 1
                content = False
            retry_s = None if content else min(_LAST_RETRY_S, 2 * (retry_s or _FIRST_RETRY_S / 2))

    def _tend_all(self) -> bool:
        """Give each writer what it lacks; return whether none lacks or still retains anything."""
        content = True
        for writer in list(self._kept.writers.values()):
            content = self._tend(writer) and content
        return content

    def _tend(self, writer: SpoolWriter) -> bool:
        # What is acknowledged is dropped only when this returns: unmapping megabytes is not for under the lock.
        wanted, _done = self._kept.guarded(lambda depth: (writer.spare_wanted(), writer.forget_acknowledged()))
        if not wanted:
            return not writer.retains
        segment: Segment | None = None
        try:
            with taking_turns():
                segment = writer.prepare_spare()
        finally:
            made = segment
            accepted = self._kept.guarded(lambda depth: not self._kept.closed and writer.offer(made))
            if made is not None and not accepted:
                made.remove()
        return segment is not None and not writer.retains
