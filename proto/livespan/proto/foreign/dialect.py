"""Which convention a span speaks, and what every span says the same way: session, error, state, framework.

First of these that holds:
    livespan.node.type                                   our own names       plain.py
    openinference.span.kind                              OpenInference       openinference.py
    traceloop.*, llm.request.type, a vector store        OpenLLMetry         openllmetry.py
    gen_ai.operation.name, or a model with its tokens    OTel GenAI          genai.py
    none of these                                        a BRANCH            plain.py
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, cast

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from livespan.proto import attributes as names
from livespan.proto.foreign import genai, openinference, openllmetry, plain
from livespan.proto.foreign.json_text import json_text
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan

__all__ = ["foreign_node"]

_SESSIONS: Final = (
    names.SESSION,
    "session.id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.thread_id",
    "traceloop.association.properties.conversation_id",
    "traceloop.association.properties.chat_id",
)
_NAME_CHARACTERS: Final = 256
"""A longer model or tool name is no name; the node keeps its span's then."""


def foreign_node(span: Span, scope: str = "") -> ForeignNode:
    """Return a foreign span as a node.

    Args:
        span: as it came.
        scope: the name of the instrumentation that made it, "" = unknown.
    """
    told = ForeignSpan(span, scope)
    session, error, state = told.text(*_SESSIONS), told.error(), _state(told)
    if plain.is_named(told):
        node = plain.named(told)
    elif openinference.KIND in told:
        node = openinference.read(told)
    elif openllmetry.is_ours(told):
        node = openllmetry.read(told)
    elif genai.OPERATION in told or "gen_ai.request.model" in told:
        node = genai.read(told)
    else:
        node = plain.other(told)
    if not 0 < len(node.name) <= _NAME_CHARACTERS:
        node = msgspec.structs.replace(node, name=span.name)
    rest = told.rest()
    if node.name != span.name:
        rest[names.SPAN_NAME] = span.name
    return msgspec.structs.replace(
        node, session=session, error=error, state=state, framework=node.framework or _framework(scope), rest=rest
    )


def _framework(scope: str) -> str:
    """Return what an instrumentation instruments: `openinference.instrumentation.langchain` ─▶ `langchain`."""
    _, found, after = scope.partition(".instrumentation.")
    words = [word for word in after.split(".") if word != "genai"]
    return words[0] if found and words else ""


def _state(span: ForeignSpan) -> bytes | None:
    """Return the state that a span carries, in whichever form its SDK let it through.

    bytes as they are; text as UTF-8, or as base64 where `livespan.state.encoding` says so (JavaScript's SDK drops
    bytes); a list of integers, which Python's SDK makes of a bytearray. What cannot be read as it was announced is
    kept as it stands: a state is never dropped.
    """
    value, encoding = span.take(names.STATE), span.take(names.STATE_ENCODING)
    if value is None:
        return None
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        if encoding == "base64":
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                pass
        return value.encode()
    if isinstance(value, list) and all(type(item) is int and 0 <= item < 256 for item in value):
        return bytes(cast("list[int]", value))
    return json_text(value).encode()
