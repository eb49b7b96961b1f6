"""The mirror: a run's nodes as ordinary spans of the user's own tracer provider, without state.

    journal ─▶ take() ─▶ queue (bounded) ─▶ thread ─▶ user's tracer: start, end ─▶ whatever exports them
                            └─ full: dropped, counted, said once

The record is the journal's; this is a copy for the user's dashboards. So their sampler, limits, processors and
exporters decide what becomes of the mirror, and of nothing else, and nothing that they do is waited for by the agent's
thread. A node's span starts at its started record and ends at its ended record, with the record's times; its parent is
its scope's span, and the run's root hangs under the span that the run was opened in. A try is a span; a call that is
answered from the record writes no record and has none. Checkpoints are events on their node's span. Spans that are open
when the run's life ends are ended then.

`livespan.node.id` on a mirrored span is the node's id in the record: the provider gives its spans ids of its own.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Final, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireForm

from livespan.instrumentation.said_once import say_once
from livespan.proto import attributes as names
from livespan.proto.clock import wall_ns
from livespan.proto.record import RecordKind
from livespan.proto.span import JournalSpan, Scalar

__all__ = ["TRACER_NAME", "Mirror"]

TRACER_NAME: Final = "livespan.instrumentation"
"""Of the tracer that mirrored spans are made by; LivespanSpanProcessor leaves them alone."""
_MOST_WAITING: Final = 4096
_MOST_OPEN: Final = 4096
_EXIT_S: Final = 2.0
_Task: TypeAlias = Callable[[], None]
_NOT_MIRRORED: Final = frozenset({names.RECORD, names.ERROR_VALUE, names.CHECKPOINT_COUNTERS, names.CALL_DIGEST})


class _Queue:
    """The thread that speaks to users' providers, one per process; it starts when there is something to do."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[_Task] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def put(self, task: _Task) -> None:
        """Have a task done; never waits."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self.dropped += 1
            say_once("mirror", "full", "the tracer provider is slower than the run: spans of the mirror are dropped")
            return
        if self._thread is None:
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put is done; return whether it was in time."""
        deadline = time.monotonic() + timeout_s
        while self._tasks.unfinished_tasks:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="livespan-mirror", daemon=True)
                # In an empty context: no branch of the program's, and no span of the program's around it.
                Context().run(self._thread.start)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception as error:  # noqa: BLE001 - the border to users' providers: the run goes on without its mirror
                say_once("mirror", type(error).__name__, f"a span of the mirror was lost: {error}")
            finally:
                self._tasks.task_done()


_queue = [_Queue()]


def _fresh() -> None:
    _queue[0] = _Queue()


os.register_at_fork(after_in_child=_fresh)
atexit.register(lambda: _queue[0].flush(_EXIT_S))


class Mirror:
    """Mirrors one life of a run.

    Args:
        provider: the user's.
        told: attributes that every span of it bears: which run, session, attempt.
    """

    def __init__(self, provider: trace.TracerProvider, told: Mapping[str, Scalar]) -> None:
        self._tracer = provider.get_tracer(TRACER_NAME)
        self._told = dict(told)
        self._around = otel_context.get_current()
        self._open: dict[bytes, trace.Span] = {}
        self._root = self._around

    @property
    def dropped(self) -> int:
        """Records that were not mirrored for want of room, in this process."""
        return _queue[0].dropped

    def take(self, span: JournalSpan) -> None:
        """Mirror a record that was written, in a moment."""
        _queue[0].put(lambda: self._mirror(span))

    def end(self) -> None:
        """End what is open, in a moment: this life is over."""
        now = wall_ns()
        _queue[0].put(lambda: self._end(now))

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken has reached the provider; return whether it was in time."""
        return _queue[0].flush(timeout_s)

    def _mirror(self, span: JournalSpan) -> None:
        match span.attributes.get(names.RECORD):
            case RecordKind.STARTED:
                # Past the bound (ends were dropped) a node is mirrored whole when it ends.
                if span.node_id not in self._open and len(self._open) < _MOST_OPEN:
                    self._start(span)
            case RecordKind.ENDED:
                mirrored = self._open.pop(span.node_id, None) or self._begun(span)
                _finish(mirrored, span)
            case RecordKind.CHECKPOINT:
                around = self._open.get(span.node_id)
                if around is not None:
                    event: dict[str, str] = {names.CHECKPOINT_ID: str(span.attributes[names.CHECKPOINT_ID])}
                    around.add_event("checkpoint", event, timestamp=span.started_ns)
            case _:
                pass  # settlements and gaps are facts about other nodes' records

    def _start(self, span: JournalSpan) -> None:
        mirrored = self._open[span.node_id] = self._begun(span)
        if not span.parent_id:
            self._root = trace.set_span_in_context(mirrored, self._around)

    def _begun(self, span: JournalSpan) -> trace.Span:
        parent = self._open.get(span.parent_id) if span.parent_id else None
        within = self._root if span.parent_id else self._around
        attributes = {**self._told, names.NODE_ID: span.node_id.hex(), **_attributes(span)}
        return self._tracer.start_span(
            span.name,
            trace.set_span_in_context(parent, self._around) if parent is not None else within,
            attributes=attributes,
            start_time=span.started_ns or span.ended_ns,
        )

    def _end(self, now_ns: int) -> None:
        for mirrored in reversed(list(self._open.values())):
            mirrored.end(now_ns)
        self._open.clear()


def _finish(mirrored: trace.Span, span: JournalSpan) -> None:
    mirrored.set_attributes(_attributes(span))
    if span.failed:
        message = str(span.attributes.get(names.ERROR_MESSAGE, ""))
        mirrored.set_status(trace.Status(trace.StatusCode.ERROR, message))
    mirrored.end(span.ended_ns)


def _attributes(span: JournalSpan) -> dict[str, Scalar]:
    """Return what a record says, as attributes of an ordinary span."""
    found: dict[str, Scalar] = {}
    # The attributes of a call site are kept serialised: as the field of a span that they are on the wire.
    for pair in WireForm.FromString(span.fixed).attributes:
        value: Scalar | None = getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        if value is not None:
            found[pair.key] = value
    found.update({name: value for name, value in span.attributes.items() if name not in _NOT_MIRRORED})
    found.update({name: text.decode("utf-8", "replace") for name, text in span.texts if name not in _NOT_MIRRORED})
    return found
