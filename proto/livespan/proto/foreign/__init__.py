"""Spans of somebody else's instrumentation as steps of an agent. Pure functions: no clock, no state, no I/O.

    OTLP span ─▶ ForeignSpan ─▶ dialect ─┬─ genai.py          OpenTelemetry's GenAI convention, old spellings too
                (span.py)    (dialect.py) ├─ openinference.py  Arize's OpenInference
                                          ├─ openllmetry.py    Traceloop's OpenLLMetry, where it differs from GenAI
                                          └─ plain.py          what is none of these, and what speaks our own names
                                                  └─▶ ForeignNode (node.py) ─▶ attributes by our names

    a run's ForeignNodes, with what each of them lacked ─▶ tree.py: wrappers folded, orphans hung up, tool calls told,
                                                               and what two instrumentations saw stands once (echoes.py)

What a span says of itself is mapped span by span, so that every row of SQL has it. What only the whole run tells
(which wrapper connects others, which model call asked for a tool) is put together by whoever reads a whole run.
"""

from __future__ import annotations

from livespan.proto.foreign.asking import Step
from livespan.proto.foreign.dialect import foreign_node
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.tree import Told, plant

__all__ = ["ForeignNode", "Step", "Told", "foreign_node", "plant"]
