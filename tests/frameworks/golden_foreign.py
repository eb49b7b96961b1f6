"""The golden spans of each convention: OTLP/JSON, ids in hex, as its real instrumentations made them. `load` reads one;

    make foreign && .venv/bin/python -m tests.frameworks.golden_foreign [CONVENTION ...]

makes them anew: a file is replaced only when an instrumentation says something new, and then the tests say what.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.frameworks.weather_script import weather_script

from livespan.replay.testing import ModelServer

__all__ = ["CONVENTIONS", "load", "run_program"]

CONVENTIONS: Final = ("genai", "openinference", "openllmetry")
ROOT: Final = Path(__file__).parents[2]
_GOLDEN: Final = ROOT / "tests" / "golden" / "foreign"
_IDS: Final = ("traceId", "spanId", "parentSpanId")


def load(convention: str) -> ExportTraceServiceRequest:
    """Return the golden spans of a convention: those of the agent and those of the client."""
    held: Any = json.loads((_GOLDEN / f"{convention}.json").read_text())
    _change_ids(held, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
    return ParseDict(held, ExportTraceServiceRequest())


def run_program(convention: str, program: str, model_url: str, collector: str) -> None:
    """Run `agent`, `client` or `both` under a convention's instrumentation; see foreign_program.py."""
    python = ROOT / ".make" / "foreign" / convention / "bin" / "python"
    assert python.exists(), f"{python} is missing: `make foreign` makes it"
    script = Path(__file__).with_name("foreign_program.py")
    told = subprocess.run(
        [python, script, convention, program, model_url, collector],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr


def _record(convention: str) -> None:
    whole = ExportTraceServiceRequest()
    with ModelServer(weather_script) as server, tempfile.TemporaryDirectory() as folder:
        for program in ("agent", "client"):
            file = Path(folder) / program
            run_program(convention, program, server.base_url, str(file))
            whole.MergeFromString(file.read_bytes())
    held: Any = MessageToDict(whole, use_integers_for_enums=True)
    _change_ids(held, lambda text: base64.b64decode(text).hex())
    text = json.dumps(held, indent=1, ensure_ascii=False).replace(f"{ROOT}/", "")
    (_GOLDEN / f"{convention}.json").write_text(text + "\n")


def _change_ids(held: Any, change: Callable[[str], str]) -> None:
    for span in _spans(held):
        for name in _IDS:
            if span.get(name):
                span[name] = change(span[name])


def _spans(held: Any) -> Iterator[dict[str, Any]]:
    for resource in held["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


if __name__ == "__main__":
    for one in sys.argv[1:] or CONVENTIONS:
        _record(one)
