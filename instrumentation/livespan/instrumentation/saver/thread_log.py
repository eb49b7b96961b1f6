"""A project's threads in a collector: records appended, and what came since read. What a call appends is acknowledged
when it returns: fsynced by the collector, in one append.

    writes       ─▶ unsent ─▶ one append ─▶ acknowledged, no longer unsent
    checkpoint   ─▶ all that is unsent of its thread, and then itself, in one append

So a checkpoint is never found without the writes that were put before it, whichever of the two came to the collector
first, and writes that could not be sent go with the next. A record that arrives twice is one: it has a number of its
writer's.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.connection import connection
from livespan.instrumentation.outbound import MAX_BATCH_BYTES
from livespan.instrumentation.saver.thread_state import Place, ThreadState
from livespan.instrumentation.settings import AgentSettings
from livespan.proto import attributes as names
from livespan.proto.clock import random_hex, wall_ns
from livespan.proto.errors import Closed, InvalidInput, Unavailable
from livespan.proto.ids import scope_node_id, thread_run_id, trace_id
from livespan.proto.life import life_resource
from livespan.proto.record import RecordKind
from livespan.proto.rpc import MAX_MESSAGE_BYTES
from livespan.proto.span import JournalSpan, WireSpan, export_request, wire_span
from livespan.proto.v1.livespan_pb2 import ListThreadsRequest, ReadThreadRequest, RunRef

__all__ = ["ThreadLog"]

_PAUSE_S: Final = 0.1
_KEPT_BYTES: Final = 64 * 1024 * 1024
_WRITERS: Final = 10_000
_UNSENT_BYTES: Final = 16 * 1024 * 1024
_T = TypeVar("_T")


class _Unsent:
    """A record that is not acknowledged, and whether somebody is sending it."""

    __slots__ = ("sending", "span")

    def __init__(self, span: WireSpan) -> None:
        self.span = span
        self.sending = True


class _Writer:
    """Who writes into one thread, and how many records it has written."""

    __slots__ = ("name", "seq")

    def __init__(self) -> None:
        self.name = f"saver-{random_hex(6)}"
        self.seq = 0


class ThreadLog:
    """Thread-safe, and usable in a forked child.

    Args:
        settings: whose home, endpoint and project; and how long an unreachable collector is waited for.
        lost: told of a thread of which the collector does not have what it had, as one of a new home.
    """

    def __init__(self, settings: AgentSettings, lost: Callable[[str], None]) -> None:
        self._settings = settings
        self._lost = lost
        self._begin()

    def append_checkpoint(self, thread_id: str, place: Place, state: bytes, metadata: str) -> None:
        """Append a checkpoint, behind the writes of its thread that are not acknowledged.

        Args:
            metadata: JSON, for people.

        Raises:
            Unavailable: the collector could not be reached; the checkpoint is not there, or not known to be.
            InvalidInput: it has more than 64 MB.
        """
        span = self._span(thread_id, "checkpoint", place, state, metadata)
        with self._lock:
            before = dict(self._unsent.get(thread_id, {}))
        self._send([*(unsent.span for unsent in before.values()), span], thread_id)
        self._acknowledged(thread_id, before)

    def append_writes(self, thread_id: str, place: Place, state: bytes) -> None:
        """Append pending writes; where they cannot be sent they go with what is sent next.

        Raises as `append_checkpoint`.
        """
        span = self._span(thread_id, "writes", place, state)
        own = _Unsent(span)
        with self._lock:
            waiting = self._unsent.setdefault(thread_id, {})
            going = {number: unsent for number, unsent in waiting.items() if not unsent.sending}
            self._numbered += 1
            going[self._numbered] = waiting[self._numbered] = own
            for unsent in going.values():
                unsent.sending = True
        try:
            self._send([unsent.span for unsent in going.values()], thread_id)
        except InvalidInput:
            self._acknowledged(thread_id, going)  # nobody will ever take it
            raise
        except BaseException:
            with self._lock:
                for unsent in going.values():
                    unsent.sending = False
                self._bound(waiting)
            raise
        self._acknowledged(thread_id, going)

    def append_deletions(self, thread_id: str, places: Sequence[Place]) -> None:
        """Append that checkpoints are deleted; a place without an id is the whole thread.

        Raises as `append_checkpoint`.
        """
        if places:
            self._send([self._span(thread_id, "deleted", place, b"") for place in places], thread_id)

    def append_copies(self, thread_id: str, copies: Sequence[tuple[str, Place, bytes, str]]) -> None:
        """Append (event, place, state, metadata) of another thread. Raises as `append_checkpoint`."""
        if copies:
            self._send([self._span(thread_id, *copy) for copy in copies], thread_id)

    @contextmanager
    def reading(self, thread_id: str) -> Generator[ThreadState]:
        """Hand out a thread as it stands now: everything that was acknowledged before is in it.

        Raises:
            Unavailable: the collector could not be reached. Damaged: what is recorded cannot be read.
        """
        with self._own():
            turn = self._turns.setdefault(thread_id, threading.Lock())
        with turn:
            with self._lock:
                state = self._states.pop(thread_id, None) or ThreadState()
            state = self._patiently(lambda client: self._caught_up(client, thread_id, state), f"thread {thread_id}")
            self._keep(thread_id, state)
            yield state

    def thread_ids(self, langgraph_runs: Sequence[str] = ()) -> list[str]:
        """Return the ids of all threads, or of those with a checkpoint of these LangGraph runs; raises as `reading`."""
        request = ListThreadsRequest(project=self._settings.project, langgraph_runs=langgraph_runs)
        return self._patiently(lambda client: client.threads(request), "threads")

    def _begin(self) -> None:
        """Begin as a writer of its own; what a parent has not sent is the parent's to send."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._writers: OrderedDict[str, _Writer] = OrderedDict()
        self._numbered = 0
        self._unsent: dict[str, dict[int, _Unsent]] = {}
        self._states: OrderedDict[str, ThreadState] = OrderedDict()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def _own(self) -> threading.Lock:
        """Return the lock of this process."""
        if self._pid != os.getpid():
            self._begin()
        return self._lock

    def _number(self, thread_id: str) -> tuple[str, int]:
        """Return the name of who writes into a thread, and the number of its next record."""
        with self._own():
            writer = self._writers.pop(thread_id, None) or _Writer()
            self._writers[thread_id] = writer
            if len(self._writers) > _WRITERS:
                self._writers.popitem(last=False)  # who comes again is another writer
            writer.seq += 1
            return writer.name, writer.seq

    def _span(self, thread_id: str, event: str, place: Place, state: bytes, metadata: str = "") -> WireSpan:
        writer, seq = self._number(thread_id)
        project, run_id = self._settings.project, thread_run_id(thread_id)
        trace = trace_id(project, run_id)
        now_ns = wall_ns()
        span = JournalSpan(
            resource=life_resource(project=project, run_id=run_id, generation=0, attempt=0, epoch=0),
            trace_id=trace,
            node_id=scope_node_id(trace, place.namespace),
            parent_id=b"",
            name=event,
            started_ns=now_ns,
            ended_ns=now_ns,
            failed=False,
            fixed=b"",
            attributes={
                names.RECORD: RecordKind.THREAD.value,
                names.FRAMEWORK: "langgraph",
                names.SCOPE: place.namespace,
                names.CHECKPOINT_ID: place.checkpoint_id,
            },
            texts=((names.METADATA, metadata.encode()),) if metadata else (),
        )
        return wire_span(span, writer, seq, state)

    def _send(self, spans: Sequence[WireSpan], thread_id: str) -> None:
        """Send records in their order, in one request unless that would be a very large one."""
        for batch in _batches(spans):
            request = export_request(batch)
            if len(request) > MAX_MESSAGE_BYTES:
                raise InvalidInput(
                    f"a record of {len(request):,} bytes is more than the {MAX_MESSAGE_BYTES:,} that are taken",
                    subject=f"thread {thread_id}",
                    hint="Keep large things elsewhere, and what names them in the graph's state.",
                )
            self._patiently(partial(self._append, thread_id, request), f"thread {thread_id}")

    def _append(self, thread_id: str, request: bytes, client: CollectorClient) -> None:
        run = RunRef(project=self._settings.project, run_id=thread_run_id(thread_id))
        if client.append_thread(run, request):
            raise InvalidInput(
                "the collector has refused a record of a thread",
                subject=f"thread {thread_id}",
                hint="Are both of one version? `livespan doctor` tells.",
            )

    def _patiently(self, ask: Callable[[CollectorClient], _T], subject: str) -> _T:
        """Ask the collector, again and again where it is away, as long as the settings say."""
        ties = connection(self._settings)
        deadline_s = time.monotonic() + self._settings.unreachable_s
        again = False
        while True:
            try:
                return ask(ties.client(again))
            except (Unavailable, Closed, OSError) as error:
                if time.monotonic() < deadline_s:
                    again = True
                    time.sleep(_PAUSE_S)
                    continue
                why = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else error.message
                raise Unavailable(
                    f"the collector that keeps the threads could not be asked: {why}",
                    subject=subject,
                    hint="Invoke the graph again once it is back: it goes on from its last checkpoint. "
                    "`livespan doctor` tells.",
                ) from error

    def _caught_up(self, client: CollectorClient, thread_id: str, state: ThreadState) -> ThreadState:
        request = ReadThreadRequest(
            project=self._settings.project, thread_id=thread_id, after=state.order, known=state.records
        )
        for reply in client.read_thread(request):
            if reply.anew and state.records:
                state = ThreadState()
                self._lost(thread_id)
            for record in reply.records:
                state.add(record)
        return state

    def _keep(self, thread_id: str, state: ThreadState) -> None:
        """Keep what was read, and let go of the threads that were not asked for in the longest time."""
        with self._lock:
            self._states[thread_id] = state
            total = sum([kept.size_bytes for kept in self._states.values()])
            while total > _KEPT_BYTES and len(self._states) > 1:
                total -= self._states.popitem(last=False)[1].size_bytes

    def _acknowledged(self, thread_id: str, sent: dict[int, _Unsent]) -> None:
        with self._lock:
            waiting = self._unsent.get(thread_id, {})
            for number in sent:
                waiting.pop(number, None)
            if not waiting:
                self._unsent.pop(thread_id, None)

    @staticmethod
    def _bound(waiting: dict[int, _Unsent]) -> None:
        """Let go of the oldest writes that nobody is sending; who put them was told that they were not kept."""
        size = sum([unsent.span.size_bytes for unsent in waiting.values()])
        for number in list(waiting):
            if size <= _UNSENT_BYTES:
                return
            if not waiting[number].sending:
                size -= waiting.pop(number).span.size_bytes


def _batches(spans: Sequence[WireSpan]) -> Iterator[list[WireSpan]]:
    batch: list[WireSpan] = []
    size = 0
    for span in spans:
        if batch and size + span.size_bytes > MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += span.size_bytes
    if batch:
        yield batch
