"""The committer: the one place where a batch is admitted, written, synced and acknowledged, by one thread at a time.

    submit ─▶ queue (bounded) ─▶ the committer's thread ─┐
    commit ─▶ queue (bounded) ─▶ the caller's own thread ─┴▶ take all ─▶ admit each ─▶ append ─▶ answer ─▶ deliver

Group commit has no timer: whatever waits when a thread comes back from the disk is the next batch, so one client
waits for one sync, and a thousand share one. `commit` spares the two changes of threads that `submit` costs, for a
caller that can wait: its thread writes its own frame, and whatever waits beside it. Backpressure is the bound: a full
queue raises `Unavailable`, and the receiver answers with a retry delay. Bytes count from their submission until their
outcome is delivered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from livespan.collector.log.frame import MAX_PAYLOAD_BYTES
from livespan.collector.log.protocol import Appended, Entry, Log
from livespan.collector.metrics.buckets import BATCH_BYTES, BATCH_RECORDS, Buckets
from livespan.proto.errors import Closed, InvalidInput, Stop, Unavailable

__all__ = ["Admit", "Committer", "Deliver", "Done", "Outcome", "call_each", "deliver_in"]

Admit: TypeAlias = Callable[[], None]
"""Asked on the committing thread just before an item is appended; what it raises (a Stop too) refuses that item alone.
"""
Outcome: TypeAlias = Appended | BaseException
Done: TypeAlias = Callable[[Outcome], None]
"""Told once: the acknowledged frame, or why there is none."""
Deliver: TypeAlias = Callable[[list[tuple[Done, Outcome]]], None]
"""Gets all outcomes of a batch at once, in the order of the log, on the committing thread; batches come in that order
too.
"""

_DEFAULT_MAX_PENDING_BYTES: Final = 64 << 20


class _Item(NamedTuple):
    payload: bytes
    records: int
    admit: Admit | None
    done: Done
    answer: Done | None


def call_each(outcomes: list[tuple[Done, Outcome]]) -> None:
    """Tell each caller its outcome; one that raises does not keep the next from being told.

    Raises:
        ExceptionGroup: what callers raised, after all were told.
    """
    failures: list[Exception] = []
    for done, outcome in outcomes:
        try:
            done(outcome)
        except Exception as error:  # noqa: BLE001 - a border: these are other components' callbacks
            failures.append(error)
    if failures:
        raise ExceptionGroup("callbacks of appended frames failed", failures)


def deliver_in(loop: asyncio.AbstractEventLoop) -> Deliver:
    """Return a `Deliver` that wakes `loop` once per batch; callers are told on the loop, its
    exception handler gets failures.
    """

    def deliver(outcomes: list[tuple[Done, Outcome]]) -> None:
        loop.call_soon_threadsafe(call_each, outcomes)

    return deliver


class Committer:
    """Appends to `log`, from a thread of its own or a caller's. Thread-safe. Whoever made it closes it, before the log.

    Attributes:
        batches: batches that were written.
        batch_records, batch_bytes: how large they were.
        failures: deliveries and answers that raised; the frames were acknowledged or refused all the same.
    """

    def __init__(
        self,
        log: Log,
        *,
        deliver: Deliver = call_each,
        max_pending_bytes: int = _DEFAULT_MAX_PENDING_BYTES,
    ) -> None:
        self.batches = 0
        self.batch_records = Buckets(BATCH_RECORDS)
        self.batch_bytes = Buckets(BATCH_BYTES)
        self.failures = 0
        self._log = log
        self._deliver = deliver
        self._max_pending_bytes = max_pending_bytes
        self._changed = threading.Condition(threading.Lock())
        self._committing = threading.Lock()
        self._queue: list[_Item] = []
        self._pending_bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="livespan-committer", daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes submitted whose outcome is not delivered yet."""
        return self._pending_bytes

    @property
    def next_seq(self) -> int:
        """The log's: every record below it is acknowledged, or was never appended."""
        return self._log.next_seq

    def submit(self, payload: bytes, count: int, admit: Admit | None, done: Done) -> None:
        """Queue a request of `count` records; returns at once. `done` is told exactly once if this
        does not raise.

        Within a batch every `admit` runs before the write, in order of submission: one that changes
        what is admitted (grants an epoch) is seen by all that were submitted after it.

        Raises:
            Unavailable: too much waits already; nothing was queued.
            InvalidInput: the payload is 4 GiB or larger, or holds no record.
            Closed: the committer is closed.
        """
        self._enqueue(_Item(payload, count, admit, done, None), wake=True)

    def commit(self, payload: bytes, count: int, admit: Admit | None, done: Done, answer: Done) -> None:
        """Append a request on this thread, or wait for the thread that is appending it; returns when it is decided.

        `answer` is told first, on the thread that has written it and before anything else is done there: it must
        neither wait nor raise. `done` is told as of `submit`; raises as `submit`.
        """
        self._enqueue(_Item(payload, count, admit, done, answer), wake=False)
        self._commit_waiting()

    def close(self) -> None:
        """Refuse new items, append what waits, deliver it, and end the thread. May be called twice;
        not from a callback.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        with self._committing:
            return  # a caller's own thread may have been writing

    def _enqueue(self, item: _Item, *, wake: bool) -> None:
        size = len(item.payload)
        if item.records < 1 or size > MAX_PAYLOAD_BYTES:
            raise InvalidInput(f"a frame of {item.records} records and {size} bytes cannot be appended", subject="log")
        with self._changed:
            if self._closed:
                raise Closed("the collector is leaving", subject="log", hint="Send it again; another will take it.")
            # One item always fits, however large, or it could never be taken.
            if self._pending_bytes and self._pending_bytes + size > self._max_pending_bytes:
                raise Unavailable(
                    f"{self._pending_bytes} bytes wait for the disk and few more may",
                    subject="log",
                    hint="Send it again in a moment; where this lasts, the disk is too slow.",
                )
            self._pending_bytes += size
            self._queue.append(item)
            if wake:
                self._changed.notify()

    def _run(self) -> None:
        while self._has_work():
            self._commit_waiting()

    def _has_work(self) -> bool:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return bool(self._queue)

    def _commit_waiting(self) -> None:
        """Commit what waits; nothing where another thread has done so meanwhile."""
        with self._committing:
            with self._changed:
                batch, self._queue = self._queue, []
            if not batch:
                return
            outcomes = self._commit(batch)
            for item, outcome in zip(batch, outcomes, strict=True):
                if item.answer is not None:
                    self._tell(partial(item.answer, outcome))
            self._tell(
                partial(self._deliver, [(item.done, outcome) for item, outcome in zip(batch, outcomes, strict=True)])
            )
            with self._changed:
                self._pending_bytes -= sum(len(item.payload) for item in batch)

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # noqa: BLE001 - a thread's border: the next batch must still be appended
            self.failures += 1

    def _commit(self, batch: list[_Item]) -> list[Outcome]:
        refused: dict[int, BaseException] = {}
        entries: list[Entry] = []
        for index, item in enumerate(batch):
            if item.admit is not None:
                try:
                    item.admit()
                except (Exception, Stop) as error:  # noqa: BLE001 - a border: the caller is told, as its outcome
                    refused[index] = error
                    continue
            entries.append(Entry(item.payload, item.records))
        appended = iter(self._append(entries))
        return [refused[index] if index in refused else next(appended) for index in range(len(batch))]

    def _append(self, entries: list[Entry]) -> list[Outcome]:
        if not entries:
            return []
        try:
            appended: list[Outcome] = list(self._log.append(entries))
        except Exception as error:  # noqa: BLE001 - a thread's border: everyone in the batch is told
            return [error] * len(entries)
        self.batches += 1
        self.batch_records.add(sum([entry.count for entry in entries]))
        self.batch_bytes.add(sum([len(entry.payload) for entry in entries]))
        return appended
