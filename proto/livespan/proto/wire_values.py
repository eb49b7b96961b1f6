"""Large values of records, cut out of a request's bytes: nothing is parsed but what stands around them.

Parsing a request makes copies of all its values, and a state of 50 KB costs four times as much in memory that is new to
the process as it does in a copy. So who wants a few large values of a request that was parsed and accepted before goes
over its fields, passes over every span but theirs, and says where they lie.

What stands here is what every protobuf encoder writes for a string or bytes attribute, key before value and nothing
beside them. A span that is written otherwise is left to the parser (`Unplain`), so that both always say the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from livespan.proto import attributes as names

__all__ = ["Unplain", "plain_large_values"]

_RESOURCE_SPANS: Final = 0x0A
_SCOPE_SPANS: Final = 0x12
_SPAN: Final = 0x12
_ATTRIBUTE: Final = 0x4A
_KEY: Final = 0x0A
_VALUE: Final = 0x12
_STRING: Final = 0x0A
_BYTES: Final = 0x3A
_SURELY_SMALL: Final = names.LARGE_BYTES // 16
"""No list or map of so many bytes has a JSON text that is large."""
_STATE: Final = names.STATE.encode()
_WRITTEN_BY: Final = frozenset({names.WRITER.encode(), names.WRITER_SEQ.encode()})
_FIXED_SIZES: Final = {1: 8, 5: 4}


class Unplain(Exception):  # no error: it asks for the parser
    """These bytes are not written as encoders write them."""


def plain_large_values(payload: bytes, wanted: Container[int]) -> list[tuple[int, str, memoryview]]:
    """Return (span, attribute name, bytes) as `Request.larges` yields them, of the wanted spans alone; all of them must
    be records of ours. The bytes are views of the payload, not copies.

    Args:
        payload: was accepted before.
        wanted: numbers of spans in the request.

    Raises:
        Unplain: ask the parser.
    """
    found: list[tuple[int, str, memoryview]] = []
    number = 0
    view = memoryview(payload)
    try:
        for group_at, group_end in _fields(payload, 0, len(payload), _RESOURCE_SPANS):
            for scope_at, scope_end in _fields(payload, group_at, group_end, _SCOPE_SPANS):
                for at, end in _fields(payload, scope_at, scope_end, _SPAN):
                    if number in wanted:
                        found += [(number, name, view[first:last]) for name, first, last in _of_span(payload, at, end)]
                    number += 1
    except IndexError as error:
        raise Unplain from error
    return found


def _of_span(payload: bytes, start: int, end: int) -> list[tuple[str, int, int]]:
    """Return name, begin and end of each large value."""
    seen: set[bytes] = set()
    found: list[tuple[str, int, int]] = []
    for at, stop in _fields(payload, start, end, _ATTRIBUTE):
        name_at, name_end = _content(payload, at, stop, _KEY)
        name = payload[name_at:name_end]
        value_at, value_end = _content(payload, name_end, stop, _VALUE)
        if value_end != stop or name in seen:  # of a name that comes twice the last counts: the parser knows how
            raise Unplain
        seen.add(name)
        if value_end - value_at <= _SURELY_SMALL and name != _STATE:
            continue
        kind = payload[value_at]
        if kind not in (_STRING, _BYTES):
            raise Unplain
        content_at, content_end = _content(payload, value_at, value_end, kind)
        if content_end != value_end:
            raise Unplain
        is_large = content_end - content_at > names.LARGE_BYTES or (name == _STATE and kind == _BYTES)
        if is_large and name not in _WRITTEN_BY:
            found.append((name.decode(), content_at, content_end))
    return found


def _fields(payload: bytes, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield where the contents of each field with this tag begin and end, within a message that lies at `at..end`."""
    while at < end:
        tag = payload[at]
        if tag == wanted:
            content_at, at = _content(payload, at, end, tag)
            yield content_at, at
            continue
        tag, at = _varint(payload, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(payload, at)
        elif kind == 2:
            length, at = _varint(payload, at)
            at += length
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            raise Unplain  # a group
    if at != end:
        raise Unplain


def _content(payload: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the field at `at` begin and end, which must have this tag and lie before `end`."""
    if at >= end or payload[at] != tag:
        raise Unplain
    length = payload[at + 1]
    at += 2
    if length > 0x7F:
        length, at = _varint(payload, at - 1)
    if at + length > end:
        raise Unplain
    return at, at + length


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
            raise Unplain
