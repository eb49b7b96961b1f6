"""The forwarder: one thread that takes what waits, makes spans of it, and sends them in batches until they are taken.

take ─▶ complete ─▶ batch (≤ 512 spans, ≤ 3 MB) ─▶ export ─▶ note the sequence
                                                     │ failed
                                wait, longer each time ◀── an empty export fails too: the backend is away
                                drop, and count        ◀── empty exports are taken, time and again, and it is not
                                drop, and count        ◀── newer ones have had to give way meanwhile
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from livespan.collector.forward.complete import Completer
from livespan.collector.forward.last_words import LastWords, hint_of
from livespan.collector.forward.queue import Queue, Waiting
from livespan.collector.forward.sdk_spans import ResourceCache, readable
from livespan.collector.forward.sequence import ServedUpTo
from livespan.collector.forward.target import ForwardTarget
from livespan.collector.log.protocol import Log
from livespan.collector.notices import Fact, Notices, Seldom
from livespan.proto.home import Home
from livespan.proto.measured import Family, counter, gauge
from livespan.proto.otlp import Request

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Forwarder"]

_BATCH_SPANS: Final = 512
_BATCH_BYTES: Final = 3 * 1024 * 1024
_WAIT_S: Final = (0.5, 30.0)
_GATHER_S: Final = 0.2
_NOTE_S: Final = 1.0
_DOUBTFUL_TRIES: Final = 2
_REFUSED: Final = "refused"
_QUEUE_FULL: Final = "queue_full"
_ENDING: Final = "collector_ended"
_BROKEN: Final = "unreadable"


class Forwarder:
    """Forwards one collector's records.

    Args:
        connect: returns a new exporter.
        name: the backend's, for notices.
        served: where to go on after a restart.
        queue_bytes: bound of what waits.
        wait_s: first and longest pause between tries.
    """

    def __init__(
        self,
        connect: Callable[[], SpanExporter],
        name: str,
        served: ServedUpTo,
        *,
        queue_bytes: int,
        wait_s: tuple[float, float] = _WAIT_S,
    ) -> None:
        self._connect = connect
        self._name = name
        self._served = served
        self._queue = Queue(queue_bytes)
        self._wait_s = wait_s
        self._completer = Completer()
        self._resources = ResourceCache()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._exporter: SpanExporter | None = None
        self._notices = Notices("forward")
        self._seldom = Seldom(self._notices)
        self._from_seq = 0
        self._done_seq = 0
        self._noted_s = 0.0
        self._sent = 0
        self._failures = 0
        self._failing = False
        self._reason = ""
        self._dropped: Counter[str] = Counter()

    @classmethod
    def of(cls, target: ForwardTarget, home: Home, log: Log) -> Forwarder:
        """Return the forwarder of a home's log to a backend; it begins where the log ends, or where it has left off."""
        served = ServedUpTo(home.root / "forward.json", target.endpoint, str(log.uuid))
        made = cls(target.exporter, target.endpoint, served, queue_bytes=target.queue_bytes)
        made.begin_at(log.next_seq)
        return made

    def begin_at(self, next_seq: int) -> None:
        """Say where the log ends, before anything is replayed: a backend that was never served begins there."""
        served = self._served.read()
        self._from_seq = min(served, next_seq - 1) if served is not None else next_seq - 1
        self._done_seq = self._from_seq
        self._note(now=True)  # at once: killed before anything is sent, the next one must know where this one began

    def replay(self, request: Request, size_bytes: int, first_seq: int, count: int) -> None:
        """Take in a frame that the log still holds, at start: sent if it was not, else its starts are remembered."""
        last_seq = first_seq + count - 1
        if last_seq <= self._from_seq:
            self._completer.learn(request)
        else:
            self._queue.put(Waiting(request, size_bytes, last_seq, count))

    def tee(self, request: Request, size_bytes: int, first_seq: int, count: int) -> None:
        """Take a request that was acknowledged; never waits, never raises. See intake.Tee."""
        self._queue.put(Waiting(request, size_bytes, first_seq + count - 1, count))

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="livespan-forward", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for at most `timeout_s`; what is left is sent by the next collector of this home."""
        self._queue.close()
        if self._thread is None:
            return
        self._thread.join(timeout_s)
        self._closing.set()
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.shutdown()
            self._thread.join(1.0)

    @property
    def is_failing(self) -> bool:
        """Whether the backend takes nothing now."""
        return self._failing

    def families(self) -> Iterator[Family]:
        """Yield the numbers of forwarding."""
        queue, completer = self._queue, self._completer
        dropped = {reason: float(self._dropped[reason]) for reason in (_REFUSED, _ENDING, _BROKEN)}
        dropped[_QUEUE_FULL] = float(queue.dropped_spans + self._dropped[_QUEUE_FULL])
        yield gauge("livespan_forward_queue_bytes", "What waits for the backend.", queue.size_bytes)
        yield gauge("livespan_forward_queue_requests", "Requests that wait for the backend.", len(queue))
        yield counter("livespan_forward_spans", "Spans that the backend took.", self._sent)
        yield counter("livespan_forward_dropped_spans", "Spans that were given up.", dropped, "reason")
        yield counter("livespan_forward_failures", "Exports that failed; they are tried again.", self._failures)
        yield gauge("livespan_forward_failing", "1: the backend takes nothing now.", self._failing)
        yield counter("livespan_forward_repeated_spans", "Spans left out as sent before.", completer.repeated)
        yield counter("livespan_forward_unknown_starts", "Spans sent without their input.", completer.unknown_starts)
        yield counter(
            "livespan_forward_left_out_values", "Attribute values too large to send.", completer.left_out_values
        )
        yield gauge("livespan_forward_sequence", "The log_seq up to which was sent or given up.", self._done_seq)

    def _run(self) -> None:
        self._exporter = self._connect()
        while not self._closing.is_set():
            first = self._queue.take(_NOTE_S)
            if first is None:
                self._note()
                if self._queue.closed:
                    break
                continue
            self._forward(first)
        self._note(now=True)
        self._exporter.shutdown()

    def _forward(self, first: Waiting) -> None:
        """Send a request and what came behind it within a moment."""
        batch: list[ReadableSpan] = []
        batch_bytes = 0
        until_s = time.monotonic() + _GATHER_S
        waiting: Waiting | None = first
        while waiting is not None and not self._closing.is_set():
            for span, size_bytes in self._spans(waiting):
                if batch and (len(batch) >= _BATCH_SPANS or batch_bytes + size_bytes > _BATCH_BYTES):
                    self._send(batch)
                    batch, batch_bytes = [], 0
                batch.append(span)
                batch_bytes += size_bytes
            last_seq = waiting.last_seq
            left_s = until_s - time.monotonic()
            waiting = self._queue.take(max(left_s, 0.0)) if left_s > 0 else None
            if waiting is None or batch_bytes == 0:
                if batch:
                    self._send(batch)
                    batch, batch_bytes = [], 0
                if not self._closing.is_set():
                    self._done_seq = last_seq
        self._note()

    def _spans(self, waiting: Waiting) -> Iterator[tuple[ReadableSpan, int]]:
        try:
            for resource, scope, span in self._completer.spans(waiting.request):
                yield readable(self._resources, resource, scope, span), span.ByteSize()
        except Exception as error:  # noqa: BLE001  # a thread's border: one bad request must not end forwarding
            self._dropped[_BROKEN] += waiting.spans
            self._seldom.warning(_BROKEN, "a request cannot be forwarded", error=f"{type(error).__name__}: {error}")

    def _send(self, batch: list[ReadableSpan]) -> None:
        """Return when the backend took a batch, or when it was given up."""
        overflows = self._queue.overflows
        pause_s = self._wait_s[0]
        tries = answered = 0
        while not self._export(batch):
            tries += 1
            self._tell_failing()
            if tries >= _DOUBTFUL_TRIES and self._export([]):
                answered += 1
                if answered > _DOUBTFUL_TRIES:
                    self._give_up(batch, _REFUSED)
                    return
                continue  # it may have come back just now
            answered = 0
            if self._queue.overflows != overflows:
                self._give_up(batch, _QUEUE_FULL)
                return
            if self._closing.wait(pause_s):
                self._give_up(batch, _ENDING)
                return
            pause_s = min(pause_s * 2, self._wait_s[1])
        self._sent += len(batch)
        if self._failing:
            self._failing = False
            self._notices.info("forwarding recovered", backend=self._name, dropped_spans=self._queue.dropped_spans)

    def _export(self, batch: list[ReadableSpan]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        assert self._exporter is not None
        with LastWords() as said:
            try:
                if self._exporter.export(batch) is SpanExportResult.SUCCESS:
                    return True
            except Exception as error:  # noqa: BLE001  # the exporter's border: whatever it raises is a try that failed
                said.text = f"{type(error).__name__}: {error}"
                self._seldom.warning("raised", "the exporter failed", error=said.text)
        if batch:  # an empty try only asks whether the backend is there
            self._reason = said.text
        self._failures += 1
        return False

    def _tell_failing(self) -> None:
        if not self._failing:
            self._failing = True
            facts: dict[str, Fact] = {"backend": self._name, "waiting_bytes": self._queue.size_bytes}
            if self._reason:
                facts["error"] = self._reason
            if hint := hint_of(self._reason):
                facts["hint"] = hint
            self._notices.warning("forwarding fails", **facts)

    def _give_up(self, batch: list[ReadableSpan], reason: str) -> None:
        self._dropped[reason] += len(batch)
        if reason != _ENDING:
            facts: dict[str, Fact] = {"reason": reason, "spans": len(batch)}
            if self._reason:
                facts["error"] = self._reason
            self._seldom.warning(f"dropped {reason}", "spans are not forwarded", **facts)

    def _note(self, *, now: bool = False) -> None:
        moment_s = time.monotonic()
        if not now and moment_s - self._noted_s < _NOTE_S:
            return
        self._noted_s = moment_s
        try:
            self._served.write(self._done_seq)
        except OSError as error:
            self._seldom.warning("note", "forward.json cannot be written", error=str(error))
