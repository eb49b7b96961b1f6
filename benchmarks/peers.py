"""What else one could use, doing as much as it can of the same: keep a 50 KB state at a step. Each returns seconds
for one.

What they promise differs, and the table says so: a span in a BatchSpanProcessor's queue and a row in `:memory:` are
lost with the process, a row in a SQLite file is safe from it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.material import messages

__all__ = ["ATTRIBUTES", "batch_span", "sdk_span", "sqlite_saver"]

ATTRIBUTES: Final[dict[str, str | int]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4.1-mini",
    "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
    "gen_ai.response.id": "chatcmpl-7f3a9c",
    "gen_ai.request.max_tokens": 1024,
    "gen_ai.usage.input_tokens": 812,
    "gen_ai.usage.output_tokens": 164,
    "gen_ai.conversation.id": "conversation-42",
    "gen_ai.agent.name": "support",
    "gen_ai.output.type": "text",
    "server.address": "api.example.com",
    "server.port": 443,
    "app.tenant": "acme",
    "app.step": 7,
}
"""The 15 attributes of an ordinary model call."""


class _FileExporter(SpanExporter):
    """Writes batches as OTLP into a file and syncs it: what a batch must do to be safe, whoever does it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        os.write(self._descriptor, encode_spans(spans).SerializeToString())
        os.fdatasync(self._descriptor)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        os.close(self._descriptor)


def sdk_span() -> Callable[[], float]:
    """Return what times a span with 15 attributes set at its start, a processor that does nothing, and no state."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SpanProcessor())
    tracer = provider.get_tracer("bench")

    def once() -> float:
        began_s = time.perf_counter()
        with tracer.start_as_current_span("think", attributes=ATTRIBUTES):
            pass
        return time.perf_counter() - began_s

    return once


def batch_span(path: Path, state: bytes) -> tuple[Callable[[], float], Callable[[], None]]:
    """Return what times the same span with a 50 KB state as text, through a BatchSpanProcessor; and what ends it."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_FileExporter(path)))
    tracer = provider.get_tracer("bench")
    text = state.decode()

    def once() -> float:
        began_s = time.perf_counter()
        with tracer.start_as_current_span("think", attributes=ATTRIBUTES) as span:
            span.set_attribute("app.state", text)
        return time.perf_counter() - began_s

    return once, provider.shutdown


def sqlite_saver(path: Path) -> tuple[Callable[[], float], Callable[[], None]]:
    """Return what times LangGraph's `SqliteSaver.put` of a 50 KB conversation into a file; and what ends it."""
    connection = sqlite3.connect(path, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    values = {"messages": messages()}

    def once() -> float:
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = {"messages": 1}
        config: RunnableConfig = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}
        began_s = time.perf_counter()
        saver.put(config, checkpoint, {"source": "loop", "step": 1}, {"messages": 1})
        return time.perf_counter() - began_s

    return once, connection.close
