"""A span processor for any provider: spans of somebody else's instrumentation go into the same kill-proof spool.

Unlike a journal record, a foreign span that finds no room is dropped, counted, and nobody is held up. A process says
once for each reason that it drops.
"""

from __future__ import annotations

import threading
from collections import Counter

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from livespan.instrumentation.connection import Connection, connection
from livespan.instrumentation.outbound import EntryKind
from livespan.instrumentation.said_once import drop_reason, say_dropped
from livespan.instrumentation.settings import AgentSettings, agent_settings

__all__ = ["LivespanSpanProcessor"]


class LivespanSpanProcessor(SpanProcessor):
    """Spools every span that ends in the provider it is added to. It never raises into the program and never waits.

    Args:
        settings: where the spool lies; default: the environment's.

    Attributes:
        dropped: spans that were not spooled, by reason: the spool's word (`process_cap`), else the error's name.
    """

    def __init__(self, settings: AgentSettings | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self._settings = settings or agent_settings()
        self._ties: Connection | None = None
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: a foreign span is stored when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Spool the span as the OTLP exporter would send it."""
        try:
            ties = self._connected()
            for group in encode_spans([span]).resource_spans:
                resource = group.resource.SerializeToString()
                for scope in group.scope_spans:
                    for one in scope.spans:
                        ties.spool.append(one.SerializeToString(), resource, kind=EntryKind.FOREIGN)
        except Exception as error:  # noqa: BLE001 - a border: telemetry errors never reach the program, they are counted
            self.dropped[drop_reason(error)] += 1
            say_dropped("spans are dropped", error)

    def shutdown(self) -> None:
        """Nothing is held back here: what was taken is spooled."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: spooled is what this processor promises."""
        del timeout_millis
        return True

    def _connected(self) -> Connection:
        with self._lock:
            if self._ties is None:
                self._ties = connection(self._settings)
                self._ties.kick_drain()
            return self._ties
