"""What a foreign span is as a step: the fields of node.ExecutionNode that it can tell, and the attributes by which a
record holds them.

A foreign span claims no effect, no call key and no settlement: whether its tool changed the world nobody recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from livespan.proto import attributes as names
from livespan.proto.foreign.json_text import json_text
from livespan.proto.foreign.span import Value
from livespan.proto.node import ErrorInfo, NodeType, TokenUsage

__all__ = ["ForeignNode", "Scalar"]

Scalar = str | int | float | bool | bytes

_INT64: Final = range(-(1 << 63), 1 << 63)
_KEPT_BACK: Final = frozenset(
    {
        names.RECORD,
        names.WRITER,
        names.WRITER_SEQ,
        names.CALL_KEY,
        names.CALL_DIGEST,
        names.OCCURRENCE,
        names.TRY,
        names.EFFECT,
        names.IDEMPOTENCY_KEY,
        names.NOT_DONE,
        names.UNRECORDABLE,
        names.SETTLED,
        names.SETTLED_BY,
        names.LEASE_EVENT,
        names.CHECKPOINT_COUNTERS,
        names.ERROR_VALUE,
        names.ERROR_NODE,
    }
)
"""What only a record of ours can say; of a foreign span it stays in the span's own bytes."""
_MAPPED: Final = frozenset(
    {
        names.NODE_TYPE,
        names.INPUT,
        names.OUTPUT,
        names.FRAMEWORK,
        names.ISSUED,
        names.STATE,
        names.INPUT_TOKENS,
        names.OUTPUT_TOKENS,
        names.CACHE_READ_TOKENS,
        names.CACHE_WRITE_TOKENS,
        names.REASONING_TOKENS,
        names.MODEL,
        names.PROVIDER,
        names.TOOL_NAME,
        names.TOOL_CALL_ID,
        names.TOOL_ARGUMENTS,
        names.TOOL_RESULT,
        names.ERROR_TYPE,
        names.ERROR_MESSAGE,
        names.ERROR_TRACEBACK,
    }
)
"""What a column is made of; it holds what the mapping found, never what it passed over (a wrapper's sum of tokens)."""


class ForeignNode(msgspec.Struct, frozen=True):
    """One foreign span, read.

    Attributes:
        input, output: JSON text, "" = none. Of a PROMPT a list of messages as OpenTelemetry's GenAI convention has
            them, whatever convention the span spoke; of a TOOL its arguments and its result.
        issued: the ids of the tool calls that a model asked for.
        state: the checkpoint that the span carries, None = none.
        rest: what no field holds.
    """

    type: NodeType
    name: str
    session: str = ""
    input: str = ""
    output: str = ""
    tokens: TokenUsage = TokenUsage()
    model: str = ""
    provider: str = ""
    tool_name: str = ""
    tool_call_id: str = ""
    issued: tuple[str, ...] = ()
    framework: str = ""
    error: ErrorInfo | None = None
    state: bytes | None = None
    rest: Mapping[str, Value] = {}

    def attributes(self) -> dict[str, Scalar]:
        """Return the attributes of its record, by the names of attributes.py; `rest` by its own names.

        A list or a map in `rest` becomes JSON text.
        """
        tool = self.type is NodeType.TOOL
        error = self.error or ErrorInfo("", "")
        tokens = self.tokens
        texts = (
            (names.TOOL_ARGUMENTS if tool else names.INPUT, self.input),
            (names.TOOL_RESULT if tool else names.OUTPUT, self.output),
            (names.MODEL, self.model),
            (names.PROVIDER, self.provider),
            (names.TOOL_NAME, self.tool_name),
            (names.TOOL_CALL_ID, self.tool_call_id),
            (names.ISSUED, msgspec.json.encode(self.issued).decode() if self.issued else ""),
            (names.FRAMEWORK, self.framework),
            (names.ERROR_TYPE, error.type),
            (names.ERROR_MESSAGE, error.message),
            (names.ERROR_TRACEBACK, error.traceback),
        )
        counts = (
            (names.INPUT_TOKENS, tokens.input),
            (names.OUTPUT_TOKENS, tokens.output),
            (names.CACHE_READ_TOKENS, tokens.cache_read),
            (names.CACHE_WRITE_TOKENS, tokens.cache_write),
            (names.REASONING_TOKENS, tokens.reasoning),
        )
        found: dict[str, Scalar] = {names.NODE_TYPE: self.type.value}
        found.update({name: text for name, text in texts if text})
        found.update({name: number for name, number in counts if number is not None and number in _INT64})
        if self.state is not None:
            found[names.STATE] = self.state
        for name, value in self.rest.items():
            if value is None or name in _KEPT_BACK or name in _MAPPED:
                continue
            found[name] = json_text(value) if isinstance(value, list | dict) else value
        return found
