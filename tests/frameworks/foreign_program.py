"""Runs the agent or the client under the instrumentation of one convention, in an environment that has it alone:

    python foreign_program.py CONVENTION agent|client|both MODEL_URL COLLECTOR

`both` is the agent, within a span of its own, with the instrumentation of its framework and that of its model's client.

What it sees is sent to COLLECTOR (`http://host:port`) by the stock OTLP/gRPC exporter, or, where that is a path,
written there as one serialised ExportTraceServiceRequest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

INSTRUMENTORS: Final = {
    ("genai", "agent"): ("opentelemetry.instrumentation.genai.langchain", "LangChainInstrumentor"),
    ("genai", "client"): ("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    ("openinference", "agent"): ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    ("openinference", "client"): ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    ("openllmetry", "agent"): ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    ("openllmetry", "client"): ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
}


class FileExporter(SpanExporter):
    """Writes all that was exported at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._path.write_bytes(encode_spans(self._spans).SerializeToString())


def main(convention: str, program: str, model_url: str, collector: str) -> None:
    # Without it the GenAI instrumentations leave out what was said; it is read when they are imported.
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    to_file = not collector.startswith("http")
    exporter = FileExporter(Path(collector)) if to_file else OTLPSpanExporter(endpoint=collector, insecure=True)
    provider = TracerProvider(resource=Resource({"service.name": f"{convention}-{program}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for watched in ("agent", "client") if program == "both" else (program,):
        module, name = INSTRUMENTORS[convention, watched]
        instrumentor: Any = getattr(import_module(module), name)()
        instrumentor.instrument(tracer_provider=provider)
    sys.path.insert(0, str(Path(__file__).parent))
    agent: Any = import_module("weather_agent")
    if program == "both":
        with provider.get_tracer("web").start_as_current_span("POST /ask"):
            agent.ask_agent(model_url)
    else:
        {"agent": agent.ask_agent, "client": agent.ask_client}[program](model_url)
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
