"""A span processor for any provider: spans of somebody else's instrumentation go into the same kill-proof spool.

    provider.add_span_processor(LivespanSpanProcessor())

Unlike a journal record, a foreign span that finds no room is dropped, counted, and nobody is held up. A process says
once for each reason that it drops. It may be added to several providers, and used on in a forked child.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import chain
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireForm
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from livespan.instrumentation.connection import Connection, connection
from livespan.instrumentation.masking import Field, Masking
from livespan.instrumentation.mirror import TRACER_NAME
from livespan.instrumentation.outbound import EntryKind, scoped_head
from livespan.instrumentation.process_defaults import said_mask
from livespan.instrumentation.said_once import drop_reason, say_dropped
from livespan.instrumentation.settings import AgentSettings, agent_settings

__all__ = ["LivespanSpanProcessor"]

_KICK_S: Final = 5.0
_MOST_RESOURCES: Final = 16
_SERVICE: Final = "service.name"
_OWN_NAMES: Final = "livespan."
"""Names of a resource that say which run a span belongs to: the mask is not asked about them."""


class LivespanSpanProcessor(SpanProcessor):
    """Spools every sampled span that ends in the provider it is added to. It never raises into the program or waits.

    What a run mirrors to that provider (`tracer_provider=`) is passed over: the run's own record has it.

    Args:
        settings: where the spool lies, and the mask; default: the environment's, and what `instrument` says, also when
            it is called later than this: providers are set up first in many a program.

    Attributes:
        dropped: spans that were not spooled, by reason: the spool's word (`process_cap`), else the error's name.
    """

    def __init__(self, settings: AgentSettings | None = None) -> None:
        self.dropped: Counter[str] = Counter()
        self._follows = settings is None
        self._settings = settings or agent_settings()
        self._mask_said = self._settings.mask
        self._masking = Masking(self._mask_said)
        self._resources: dict[bytes, bytes] = {}
        self._ties: Connection | None = None
        self._kick_at_s = 0.0
        self._shut_down = False
        # Re-entrant: a span may end in a signal handler or a finalizer, in the middle of another's end.
        self._lock = threading.RLock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: a foreign span is stored when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Spool the span as the OTLP exporter would send it."""
        if self._shut_down:
            return
        try:
            if not _is_wanted(span):
                return
            self._follow()
            ties = self._connected()
            for group in encode_spans([span]).resource_spans:
                resource = self._resource(group.resource)
                for scope in group.scope_spans:
                    made_by = scope.scope.SerializeToString()
                    for one in scope.spans:
                        if self._masking:
                            self._mask(one)
                        head = scoped_head(made_by, one.SerializeToString())
                        ties.spool.append(head, resource, kind=EntryKind.SCOPED)
        except Exception as error:  # noqa: BLE001 - a border: telemetry errors never reach the program, they are counted
            self.dropped[drop_reason(error)] += 1
            say_dropped("spans are dropped", error)

    def shutdown(self) -> None:
        """Take no more spans. Nothing is held back here: what was taken is spooled, and the drain sends it."""
        self._shut_down = True
        if self._ties is not None:
            with suppress(OSError):  # no drain can be started now: the next agent of this home starts one
                self._ties.kick_drain()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: spooled is what this processor promises."""
        del timeout_millis
        return True

    def _connected(self) -> Connection:
        ties = self._ties
        if ties is None:
            with self._lock:
                ties = self._ties = self._ties or connection(self._settings)
        now = time.monotonic()
        if now >= self._kick_at_s:
            # A drain lives as long as there are writers, unless somebody kills it.
            self._kick_at_s = now + _KICK_S
            ties.kick_drain()
        return ties

    def _follow(self) -> None:
        """Take the mask that `instrument` said, where this was not given its own."""
        said = said_mask() if self._follows else None
        if said is not None and said is not self._mask_said:
            self._masking = Masking(said)
            self._resources = {}
            self._mask_said = said

    def _resource(self, resource: Resource) -> bytes:
        """Return a resource as it may be spooled; a process has few, so each is shown to the mask once."""
        whole = resource.SerializeToString()
        if not self._masking:
            return whole
        shown = self._resources.get(whole)
        if shown is None:
            for pair in resource.attributes:
                if pair.key != _SERVICE and not pair.key.startswith(_OWN_NAMES):
                    self._mask_value(pair.key, pair.value)
            if len(self._resources) >= _MOST_RESOURCES:
                self._resources.clear()
            shown = self._resources[whole] = resource.SerializeToString()
        return shown

    def _mask(self, span: WireForm) -> None:
        """Show every text of a span to the mask; bytes are not shown."""
        own = (span.attributes, *[event.attributes for event in span.events], *[link.attributes for link in span.links])
        for pair in chain.from_iterable(own):
            self._mask_value(pair.key, pair.value)
        if span.status.message:
            span.status.message = self._masking.text(span.status.message, Field.ERROR, span.name)

    def _mask_value(self, name: str, value: AnyValue) -> None:
        match value.WhichOneof("value"):
            case "string_value":
                value.string_value = self._masking.text(value.string_value, Field.ATTRIBUTE, name)
            case "array_value":
                for one in value.array_value.values:
                    self._mask_value(name, one)
            case "kvlist_value":
                for pair in value.kvlist_value.values:
                    self._mask_value(f"{name}.{pair.key}", pair.value)
            case _:
                pass


def _is_wanted(span: ReadableSpan) -> bool:
    """Return whether a span is the user's and was sampled, as every exporting processor asks."""
    context = span.get_span_context()
    if context is not None and not context.trace_flags.sampled:
        return False
    scope = span.instrumentation_scope
    return scope is None or scope.name != TRACER_NAME
