"""How many messages an OTLP request would become, counted on its bytes before anything is parsed.

Two bytes on the wire are enough for an empty span, link or value that costs a hundred in memory, so a limit on bytes
alone does not bound what parsing costs. The walk follows the fields of opentelemetry-proto that hold messages and
passes over all others; it stops at the limit, and at bytes that are no protobuf (the parser says what is wrong with
them).
"""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["count_messages"]

_Shape: TypeAlias = "dict[int, _Shape]"
"""By the tag byte (field number and wire type 2) of a message field: the shape of what it holds."""


def _tag(field: int) -> int:
    return field << 3 | 2


_ANY_VALUE: Final[_Shape] = {}
_KEY_VALUE: Final[_Shape] = {_tag(2): _ANY_VALUE}
_ANY_VALUE[_tag(5)] = {_tag(1): _ANY_VALUE}
_ANY_VALUE[_tag(6)] = {_tag(1): _KEY_VALUE}
_SPAN: Final[_Shape] = {
    _tag(9): _KEY_VALUE,
    _tag(11): {_tag(3): _KEY_VALUE},
    _tag(13): {_tag(4): _KEY_VALUE},
    _tag(15): {},
}
_REQUEST: Final[_Shape] = {
    _tag(1): {  # ResourceSpans
        _tag(1): {_tag(1): _KEY_VALUE, _tag(3): {}},
        _tag(2): {_tag(1): {_tag(3): _KEY_VALUE}, _tag(2): _SPAN},
    }
}
_FIXED_SIZES: Final = {1: 8, 5: 4}


def count_messages(payload: bytes, limit: int) -> int:
    """Return the number of messages in an ExportTraceServiceRequest, or something above `limit` where it has more.

    About a microsecond a message.
    """
    count = 0
    size = len(payload)
    stack = [(0, size, _REQUEST)]
    try:
        while stack:
            at, end, shape = stack.pop()
            while at < end:
                tag = payload[at]
                at += 1
                if tag > 0x7F:  # a field above 15: none of those that hold messages here
                    tag, at = _varint(payload, at - 1)
                kind = tag & 7
                if kind == 2:
                    length = payload[at]
                    at += 1
                    if length > 0x7F:
                        length, at = _varint(payload, at - 1)
                    inner = shape.get(tag)
                    if inner is not None:
                        count += 1
                        if count > limit:
                            return count
                        if length and inner:
                            stack.append((at, min(at + length, end), inner))
                    at += length
                elif kind == 0:
                    _, at = _varint(payload, at)
                elif kind in _FIXED_SIZES:
                    at += _FIXED_SIZES[kind]
                else:
                    break  # a group, or none of protobuf's
    except IndexError:
        pass  # cut off
    return count


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place and the place behind it."""
    number = shift = 0
    while True:
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise IndexError
