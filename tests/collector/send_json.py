"""Sends one trace with the stock JSON exporter of OpenTelemetry for Python, and prints its trace id.

python send_json.py URL none|gzip

It runs in an environment of its own: the exporter pins a version of opentelemetry-exporter-otlp-common that the others
do not take.
"""

from __future__ import annotations

import os
import sys

from opentelemetry.exporter.otlp.json.http.trace_exporter import (  # type: ignore[import-not-found]  # not in this one
    OTLPSpanExporter,  # pyright: ignore[reportMissingImports, reportUnknownVariableType]  # as above
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode


def main(url: str, compression: str) -> None:
    os.environ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] = compression
    provider = TracerProvider(resource=Resource({"service.name": f"json-{compression}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))  # pyright: ignore[reportUnknownArgumentType]  # as above
    tracer = provider.get_tracer("send")
    with tracer.start_as_current_span("invoke_agent writer") as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("livespan.state", b"\x00\xff\xfe\x01")
        for number in range(3):
            start_ns = (1_767_225_600_000 + number) * 1_000_000
            child = tracer.start_span(f"chat {number}", start_time=start_ns)
            child.set_attribute("gen_ai.operation.name", "chat")
            child.set_attribute("gen_ai.request.model", "gpt")
            child.set_attribute("text", "é" * 2000)
            if number == 2:
                child.set_status(Status(StatusCode.ERROR, "no"))
            child.end(start_ns + 500_000_000)
    provider.shutdown()
    print(f"{root.get_span_context().trace_id:032x}")


if __name__ == "__main__":
    main(*sys.argv[1:])
