"""OpenLLMetry (Traceloop), as far as it differs from OpenTelemetry's GenAI convention, whose attributes it uses for
models, messages and tokens since 0.60.

    traceloop.span.kind   tool ─▶ TOOL      workflow, task, agent ─▶ BRANCH
    gen_ai.operation.name  vector_db_retrieve ─▶ MEMORY      db.system of a vector store ─▶ MEMORY
    llm.request.type      chat, completion, embedding, rerank ─▶ PROMPT       (before gen_ai.operation.name)

A tool's arguments are wrapped: its decorators write `{"args": [], "kwargs": {...}}`, its LangChain instrumentation
`{"input_str": "{'city': ...}", "inputs": {"city": ...}, ...}`. Of older versions, which have no `inputs`, Python's repr
stays the text that it is: the model's answer before it has the arguments (asking.py).
"""

from __future__ import annotations

from typing import Final

import msgspec

from livespan.proto.foreign import genai
from livespan.proto.foreign.json_text import json_text
from livespan.proto.foreign.langchain_results import tool_answer
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan
from livespan.proto.node import NodeType

__all__ = ["KIND", "is_ours", "read"]

KIND: Final = "traceloop.span.kind"
_REQUEST: Final = "llm.request.type"
_PROMPT_REQUESTS: Final = frozenset({"chat", "completion", "embedding", "rerank"})
_VECTOR_STORES: Final = frozenset({"chroma", "lancedb", "marqo", "milvus", "pinecone", "qdrant", "weaviate"})


class _Wrapped(msgspec.Struct):
    """What is wrapped around a tool's arguments; JSON in it is left as it was written."""

    args: list[msgspec.Raw] | None = None
    kwargs: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")
    input_str: str | None = None


_unwrap = msgspec.json.Decoder(_Wrapped).decode


def is_ours(span: ForeignSpan) -> bool:
    """Return whether a span speaks this convention."""
    return span.has("traceloop.") or _REQUEST in span or _is_store(span)


def read(span: ForeignSpan) -> ForeignNode:
    """Return a span of this convention as a node."""
    kind = span.take(KIND)
    span.drop("gen_ai.task.input", "gen_ai.task.output")  # what traceloop.entity.* says, once more
    if kind == "tool":
        return _tool(span)
    if kind in ("workflow", "task", "agent"):
        return _branch(span)
    if span.word(genai.OPERATION) == "vector_db_retrieve" or _is_store(span):
        return ForeignNode(
            type=NodeType.MEMORY,
            name=span.name,
            input=json_text(span.take("traceloop.entity.input", "db.query.text", "db.statement")),
            output=json_text(span.take("traceloop.entity.output")),
            provider=span.text("db.system"),
        )
    if genai.operation_type(span) is NodeType.PROMPT or span.word(_REQUEST) in _PROMPT_REQUESTS:
        return genai.prompt(span)
    if genai.operation_type(span) is NodeType.TOOL:
        return _tool(span)
    return _branch(span)


def _tool(span: ForeignSpan) -> ForeignNode:
    entity, told = span.text("traceloop.entity.name"), genai.tool(span)
    given, answered = span.take("traceloop.entity.input"), span.take("traceloop.entity.output")
    output = told.output or json_text(answered)
    answer = tool_answer(output)
    return ForeignNode(
        type=NodeType.TOOL,
        name=entity or told.name,
        input=_arguments(told.input or json_text(given)),
        output=output if answer is None else answer.output,
        tool_name=entity or told.tool_name,
        tool_call_id=told.tool_call_id or ("" if answer is None else answer.call_id),
    )


def _branch(span: ForeignSpan) -> ForeignNode:
    told = genai.branch(span)
    return ForeignNode(
        type=NodeType.BRANCH,
        name=span.text("traceloop.entity.name") or told.name,
        input=json_text(span.take("traceloop.entity.input")) or told.input,
        output=json_text(span.take("traceloop.entity.output")) or told.output,
        provider=told.provider,
    )


def _is_store(span: ForeignSpan) -> bool:
    return span.word("db.system") in _VECTOR_STORES


def _arguments(given: str) -> str:
    """Return a tool's arguments as JSON text, out of what is wrapped around them; as they came where nothing is."""
    try:
        told = _unwrap(given)
    except (ValueError, RecursionError):
        return given
    if told.input_str is not None:
        return _object(told.inputs) or json_text(told.input_str)
    if told.args == []:
        return _object(told.kwargs) or given
    return given


def _object(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    return text if text.startswith("{") else ""
