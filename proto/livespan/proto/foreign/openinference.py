"""OpenInference (Arize): `openinference.span.kind` says what a span is, its messages are flattened attributes.

    LLM, EMBEDDING, PROMPT ─▶ PROMPT     TOOL, GUARDRAIL, EVALUATOR, RERANKER ─▶ TOOL
    RETRIEVER ─▶ MEMORY                  AGENT, CHAIN, and what else comes ─▶ BRANCH

A guardrail, an evaluator and a reranker take something and answer: they are called as tools are.
"""

from __future__ import annotations

from typing import Any, Final, cast

from livespan.proto.foreign.json_text import json_text, parsed
from livespan.proto.foreign.langchain_results import tool_answer
from livespan.proto.foreign.messages import flat_message, issued_ids
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan
from livespan.proto.node import NodeType, TokenUsage

__all__ = ["KIND", "read"]

KIND: Final = "openinference.span.kind"
_PROMPTS: Final = frozenset({"LLM", "EMBEDDING", "PROMPT"})
_TOOLS: Final = frozenset({"TOOL", "GUARDRAIL", "EVALUATOR", "RERANKER"})


def read(span: ForeignSpan) -> ForeignNode:
    """Return a span of this convention as a node."""
    kind = str(span.take(KIND) or "").upper()
    given, answered = _value(span, "input"), _value(span, "output")
    if kind in _PROMPTS:
        return _prompt(span, given, answered)
    if kind in _TOOLS:
        return _tool(span, given, answered)
    if kind == "RETRIEVER":
        documents = span.group("retrieval.documents")
        return ForeignNode(
            type=NodeType.MEMORY, name=span.name, input=given, output=json_text(documents) if documents else answered
        )
    span.group("llm.input_messages")  # an echo of what the model calls below it say
    span.group("llm.output_messages")
    return ForeignNode(type=NodeType.BRANCH, name=span.text("agent.name") or span.name, input=given, output=answered)


def _prompt(span: ForeignSpan, given: str, answered: str) -> ForeignNode:
    model = span.text("llm.model_name", "embedding.model_name") or _asked_model(span)
    asked, said = span.group("llm.input_messages"), span.group("llm.output_messages")
    output = json_text([flat_message(_named(fields), "assistant") for fields in said]) if said else answered
    return ForeignNode(
        type=NodeType.PROMPT,
        name=model or span.name,
        input=json_text([flat_message(_named(fields), "user") for fields in asked]) if asked else given,
        output=output,
        tokens=TokenUsage(
            input=span.count("llm.token_count.prompt"),
            output=span.count("llm.token_count.completion"),
            cache_read=span.count("llm.token_count.prompt_details.cache_read"),
            cache_write=span.count("llm.token_count.prompt_details.cache_write"),
            reasoning=span.count("llm.token_count.completion_details.reasoning"),
        ),
        model=model,
        provider=span.text("llm.provider", "llm.system"),
        issued=issued_ids(output),
    )


def _tool(span: ForeignSpan, given: str, answered: str) -> ForeignNode:
    name = span.text("tool.name", "tool_call.function.name") or span.name
    arguments = json_text(span.take("tool_call.function.arguments"), declared=True)
    answer = tool_answer(answered)
    return ForeignNode(
        type=NodeType.TOOL,
        name=name,
        # `tool.parameters` is the tool's schema with some instrumentations and the call's arguments with others: it
        # counts only where nothing else was said.
        input=arguments or given or json_text(span.take("tool.parameters"), declared=True),
        output=answered if answer is None else answer.output,
        tool_name=name,
        tool_call_id=span.text("tool.id", "tool_call.id") or ("" if answer is None else answer.call_id),
    )


def _value(span: ForeignSpan, side: str) -> str:
    mime = span.take(f"{side}.mime_type")
    return json_text(span.take(f"{side}.value"), declared=mime == "application/json")


def _asked_model(span: ForeignSpan) -> str:
    """Return the model by the call's parameters: a call that failed has no answer that names it."""
    told = parsed(span.look("llm.invocation_parameters"))
    model = cast("dict[str, Any]", told).get("model") if isinstance(told, dict) else None
    return model if isinstance(model, str) else ""


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("message."): value for name, value in fields.items()}
