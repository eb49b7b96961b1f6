"""A foreign span as the mappings read it: its attributes as Python values, each taken once, what is left kept.

take("a", "b")   the first of these that is there, and it is gone      rest()   what nobody took
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from livespan.proto.node import ErrorInfo

__all__ = ["ForeignSpan", "Value", "plain_value"]

Value: TypeAlias = "str | int | float | bool | bytes | list[Value] | dict[str, Value] | None"

_EXCEPTION: Final = "exception"
_CONTENT_EVENTS: Final = frozenset(
    {"gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion"}
)
"""Events in which GenAI instrumentations put what was said, where they keep it out of the span's attributes."""


class ForeignSpan:
    """See the module. Mutable: a mapping takes from it.

    Attributes:
        name: the span's.
        scope: the name of the instrumentation that made it.
        failed: whether its status is an error.
        status: the status's message.
    """

    __slots__ = ("_attributes", "_events", "failed", "name", "scope", "status")

    def __init__(self, span: Span, scope: str) -> None:
        self.name = span.name
        self.scope = scope
        self.failed = span.status.code == Status.STATUS_CODE_ERROR
        self.status = span.status.message
        self._attributes = _values(span.attributes)
        self._events = [(event.name, _values(event.attributes)) for event in span.events]
        for name, values in self._events:
            if name in _CONTENT_EVENTS:
                for key, value in values.items():
                    self._attributes.setdefault(key, value)

    def __contains__(self, name: str) -> bool:
        return name in self._attributes

    def has(self, prefix: str) -> bool:
        """Return whether an attribute's name begins so."""
        return any(name.startswith(prefix) for name in self._attributes)

    def look(self, name: str) -> Value:
        """Return a value and leave it; None where it is absent."""
        return self._attributes.get(name)

    def word(self, name: str) -> str:
        """Return a text and leave it; "" where it is absent or no text."""
        return _text(self._attributes.get(name))

    def take(self, *names: str) -> Value:
        """Return the first value that is there and is not empty; it is taken."""
        for name in names:
            value = self._attributes.get(name)
            if value is not None and value != "":
                del self._attributes[name]
                return value
        return None

    def text(self, *names: str) -> str:
        """Take a text; anything else stays, "" is absent."""
        for name in names:
            if isinstance(self._attributes.get(name), str) and (value := self.take(name)):
                return str(value)
        return ""

    def count(self, *names: str) -> int | None:
        """Take a number of things: an integer, or what some exporters make of one, a float or a text of digits."""
        for name in names:
            number = _whole(self._attributes.get(name))
            if number is not None:
                del self._attributes[name]
                return number
        return None

    def group(self, prefix: str) -> list[dict[str, Value]]:
        """Take what is flattened as `prefix.<i>.<field>` and return it by i, each as field: value."""
        found: dict[int, dict[str, Value]] = {}
        start = len(prefix) + 1
        for name in [name for name in self._attributes if name.startswith(prefix + ".")]:
            index, _, field = name[start:].partition(".")
            if index.isdecimal() and len(index) < 10:
                found.setdefault(int(index), {})[field] = self._attributes.pop(name)
        return [found[index] for index in sorted(found)]

    def drop(self, *names: str) -> None:
        """Leave out what says nothing that is not said elsewhere."""
        for name in names:
            self._attributes.pop(name, None)

    def error(self) -> ErrorInfo | None:
        """Return how it failed, by its last exception event, else by its status; None where it did not fail."""
        kind = self.text("error.type")
        if not self.failed:
            return None
        told: Mapping[str, Value] = {}
        for name, values in self._events:
            if name == _EXCEPTION:
                told = values
        return ErrorInfo(
            type=_text(told.get("exception.type")) or kind or "error",
            message=_text(told.get("exception.message")) or self.status,
            traceback=_text(told.get("exception.stacktrace")),
        )

    def rest(self) -> dict[str, Value]:
        """Return what was not taken."""
        return dict(self._attributes)


def plain_value(value: AnyValue) -> Value:
    """Return an OTLP value as Python has it. Its depth is bounded by the parser of protobuf, 100."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value
        case "array_value":
            return [plain_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _values(value.kvlist_value.values)
        case _:
            return None


def _values(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: plain_value(pair.value) for pair in pairs}


def _whole(value: Value) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else None
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    return None


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""
