"""Spans of no convention: a BRANCH, which a reader of the run keeps only where it connects others. And spans that say
by our own names what they are, as a client writes them that has no journal.
"""

from __future__ import annotations

from typing import Final

from livespan.proto import attributes as names
from livespan.proto.foreign import genai
from livespan.proto.foreign.json_text import json_text
from livespan.proto.foreign.messages import issued_ids
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan
from livespan.proto.node import NodeType

__all__ = ["is_named", "named", "other"]

_TYPES: Final = frozenset(NodeType)


def is_named(span: ForeignSpan) -> bool:
    """Return whether a span says its type by our own name for it."""
    return span.word(names.NODE_TYPE) in _TYPES


def named(span: ForeignSpan) -> ForeignNode:
    """Return a span that speaks our names. Its effect is not taken from it: no journal of ours stands behind it."""
    kind = NodeType(span.text(names.NODE_TYPE))
    tool = kind is NodeType.TOOL
    output = json_text(
        span.take(*((names.TOOL_RESULT, names.OUTPUT) if tool else (names.OUTPUT, "gen_ai.output.messages"))),
        declared=True,
    )
    return ForeignNode(
        type=kind,
        name=span.name,
        input=json_text(
            span.take(*((names.TOOL_ARGUMENTS, names.INPUT) if tool else (names.INPUT, "gen_ai.input.messages"))),
            declared=True,
        ),
        output=output,
        tokens=genai.usage(span),
        model=span.text(names.MODEL),
        provider=span.text(names.PROVIDER),
        tool_name=span.text(names.TOOL_NAME) or (span.name if tool else ""),
        tool_call_id=span.text(names.TOOL_CALL_ID),
        issued=issued_ids(output) if kind is NodeType.PROMPT else (),
        framework=span.text(names.FRAMEWORK),
    )


def other(span: ForeignSpan) -> ForeignNode:
    """Return a span that says nothing of an agent."""
    return ForeignNode(type=NodeType.BRANCH, name=span.name)
