"""OpenLLMetry (Traceloop), as far as it differs from OpenTelemetry's GenAI convention, whose attributes it uses for
models, messages and tokens since 0.60.

    traceloop.span.kind   tool ─▶ TOOL      workflow, task, agent ─▶ BRANCH
    gen_ai.operation.name  vector_db_retrieve ─▶ MEMORY      db.system of a vector store ─▶ MEMORY
    llm.request.type      chat, completion, embedding, rerank ─▶ PROMPT       (before gen_ai.operation.name)

Its LangChain instrumentation writes a tool's arguments as Python's repr inside JSON: `{"input_str": "{'city': ...}"}`.
"""

from __future__ import annotations

import ast
from typing import Any, Final, cast

from livespan.proto.foreign import genai
from livespan.proto.foreign.json_text import json_text, parsed
from livespan.proto.foreign.langchain_results import tool_answer
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan
from livespan.proto.node import NodeType

__all__ = ["KIND", "is_ours", "read"]

KIND: Final = "traceloop.span.kind"
_REQUEST: Final = "llm.request.type"
_PROMPT_REQUESTS: Final = frozenset({"chat", "completion", "embedding", "rerank"})
_VECTOR_STORES: Final = frozenset({"chroma", "lancedb", "marqo", "milvus", "pinecone", "qdrant", "weaviate"})
_REPR_CHARACTERS: Final = 16 * 1024
_REPR_DEPTH: Final = 50


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
    """Return a tool's arguments, out of what is wrapped around them; as they came where they cannot be read."""
    held = parsed(given)
    written = cast("dict[str, Any]", held).get("input_str") if isinstance(held, dict) else None
    if not isinstance(written, str):
        return given
    read_back = _from_repr(written)
    return json_text(written if read_back is None else read_back)


def _from_repr(text: str) -> dict[str, Any] | None:
    """Return the dict that Python wrote so; None where it is none, or too long or deep to be read in safety."""
    if not text.startswith("{") or len(text) > _REPR_CHARACTERS or _depth(text) > _REPR_DEPTH:
        return None
    try:
        value: object = ast.literal_eval(text)
        if not isinstance(value, dict) or not json_text(cast("dict[str, Any]", value)):
            return None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError):
        return None
    return cast("dict[str, Any]", value)


def _depth(text: str) -> int:
    """Return how deep a text may be nested at most; brackets in strings are counted too."""
    depth = deepest = 0
    for letter in text:
        if letter in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in ")]}":
            depth -= 1
    return deepest
