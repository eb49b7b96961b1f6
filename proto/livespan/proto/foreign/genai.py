"""OpenTelemetry's GenAI convention (semantic-conventions-genai, "development"), and its spellings of former years.

    gen_ai.operation.name   chat, generate_content, text_completion, embeddings   ─▶ PROMPT
                            execute_tool                                          ─▶ TOOL
                            *_memory, *_memory_store, retrieval                   ─▶ MEMORY
                            invoke_agent, create_agent, and whatever comes        ─▶ BRANCH

Former spellings: `gen_ai.prompt.<i>.*` and `gen_ai.completion.<i>.*` for the messages, `prompt_tokens` and
`completion_tokens`, `gen_ai.system` for the provider.
"""

from __future__ import annotations

from typing import Final

from livespan.proto.foreign.json_text import json_text
from livespan.proto.foreign.messages import flat_message, issued_ids, message_list
from livespan.proto.foreign.node import ForeignNode
from livespan.proto.foreign.span import ForeignSpan
from livespan.proto.node import NodeType, TokenUsage

__all__ = ["OPERATION", "branch", "memory", "operation_type", "prompt", "read", "tool", "usage"]

OPERATION: Final = "gen_ai.operation.name"
_PROMPTS: Final = frozenset({"chat", "generate_content", "text_completion", "embeddings"})


def read(span: ForeignSpan) -> ForeignNode:
    """Return a span of this convention as a node."""
    match operation_type(span):
        case NodeType.PROMPT:
            return prompt(span)
        case NodeType.TOOL:
            return tool(span)
        case NodeType.MEMORY:
            return memory(span)
        case _:
            return branch(span)


def operation_type(span: ForeignSpan) -> NodeType:
    """Return what the span's operation is."""
    operation = span.word(OPERATION)
    if not operation:
        # Before operations had names a model call was what named a model and counted its tokens.
        return NodeType.PROMPT if "gen_ai.request.model" in span and span.has("gen_ai.usage.") else NodeType.BRANCH
    if operation in _PROMPTS:
        return NodeType.PROMPT
    if operation == "execute_tool":
        return NodeType.TOOL
    if operation == "retrieval" or operation.endswith(("_memory", "_memory_store")):
        return NodeType.MEMORY
    return NodeType.BRANCH


def prompt(span: ForeignSpan, type_: NodeType = NodeType.PROMPT) -> ForeignNode:
    """Return a model call; it is called by its model, as our own are."""
    model = span.text("gen_ai.request.model", "gen_ai.response.model")
    output = _spoken(span, "gen_ai.output.messages", "gen_ai.completion", "assistant")
    return ForeignNode(
        type=type_,
        name=model or span.name,
        input=_spoken(span, "gen_ai.input.messages", "gen_ai.prompt", "user"),
        output=output,
        tokens=usage(span),
        model=model,
        provider=span.text("gen_ai.provider.name", "gen_ai.system"),
        issued=issued_ids(output),
    )


def tool(span: ForeignSpan) -> ForeignNode:
    """Return a tool's call."""
    name = span.text("gen_ai.tool.name")
    return ForeignNode(
        type=NodeType.TOOL,
        name=name or span.name.removeprefix("execute_tool "),
        input=json_text(span.take("gen_ai.tool.call.arguments")),
        output=json_text(span.take("gen_ai.tool.call.result")),
        tool_name=name or span.name.removeprefix("execute_tool "),
        tool_call_id=span.text("gen_ai.tool.call.id"),
    )


def memory(span: ForeignSpan) -> ForeignNode:
    """Return a read or a write of a store that the agent remembers by."""
    return ForeignNode(
        type=NodeType.MEMORY,
        name=span.text("gen_ai.memory.store.name", "gen_ai.data_source.id") or span.name,
        input=json_text(span.take("gen_ai.memory.query.text", "gen_ai.retrieval.query.text")),
        output=json_text(span.take("gen_ai.memory.records", "gen_ai.retrieval.documents")),
        tokens=usage(span),
        model=span.text("gen_ai.request.model"),
        provider=span.text("gen_ai.provider.name", "gen_ai.system"),
    )


def branch(span: ForeignSpan) -> ForeignNode:
    """Return an agent, a workflow or a plan. The sum of tokens that some put on it is its parts' and not counted."""
    return ForeignNode(
        type=NodeType.BRANCH,
        name=span.text("gen_ai.agent.name", "gen_ai.workflow.name") or span.name,
        input=_spoken(span, "gen_ai.input.messages", "gen_ai.prompt", "user"),
        output=_spoken(span, "gen_ai.output.messages", "gen_ai.completion", "assistant"),
        model=span.text("gen_ai.request.model"),
        provider=span.text("gen_ai.provider.name", "gen_ai.system"),
    )


def usage(span: ForeignSpan) -> TokenUsage:
    """Return the tokens of a model call."""
    return TokenUsage(
        input=span.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        output=span.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        cache_read=span.count("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        cache_write=span.count("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"),
        reasoning=span.count("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
    )


def _spoken(span: ForeignSpan, name: str, former: str, role: str) -> str:
    """Return messages by their name, else flattened as they were formerly, else the one text of an older event."""
    said = span.take(name)
    instructions = span.take("gen_ai.system_instructions") if role == "user" else None
    if said is not None or instructions is not None:
        return message_list(said, instructions)
    flat = span.group(former)
    if flat:
        return json_text([flat_message(fields, role) for fields in flat])
    return json_text(span.take(former))
