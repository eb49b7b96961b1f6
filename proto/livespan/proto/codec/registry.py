"""Codecs by exact type, and the door through which a program adds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from livespan.proto.errors import InvalidInput

__all__ = [
    "RESERVED_NAMES",
    "Codec",
    "codec_named",
    "codec_of",
    "fields_that_name_nothing",
    "identify_without",
    "is_anything_left_out",
    "register_codec",
]

T = TypeVar("T")

RESERVED_NAMES: Final = frozenset(
    {"class", "dataclass", "enum", "exception", "invalid", "model", "namedtuple", "offset", "struct", "url"}
    | {"dict", "float", "frozenset", "int", "set", "str"}
)
"""Tags of kinds.py, then those of write.py itself; no codec may take one of these names."""

_HELD_TYPES: Final = frozenset({str, int, float, bool, type(None), list, dict, set, frozenset})


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of one exact type are held: what `to_json` returns is encoded in its turn."""

    name: str
    to_json: Callable[[Any], object]
    from_json: Callable[[Any], object]


_by_type: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}
_name_nothing: dict[type, frozenset[str]] = {}


def codec_of(type_: type) -> Codec | None:
    """Return the codec of exactly this type."""
    return _by_type.get(type_)


def codec_named(name: str) -> Codec | None:
    """Return the codec that was registered under a name."""
    return _by_name.get(name)


def register_codec(type_: type[T], name: str, to_json: Callable[[T], object], from_json: Callable[[Any], T]) -> None:
    """Hold values of exactly `type_` (not of its subclasses) from now on.

    Args:
        type_: the type; one that Livespan holds by its class's kind (a dataclass, say) may be given
            a codec of its own.
        name: stands in the record, so it must stay the same as long as records are to be read.
        to_json: returns any value that is held already, which is encoded in its turn.
        from_json: is given that value back and returns one that equals the original.

    Raises:
        InvalidInput: the name or the type has a codec, or the type is plain JSON.
    """
    if not name:
        raise InvalidInput("a codec needs a name", subject=type_.__qualname__)
    if name in _by_name or name in RESERVED_NAMES:
        raise InvalidInput(
            f"the codec name {name!r} is taken",
            subject=type_.__qualname__,
            hint="Choose another name.",
        )
    if type_ in _by_type or type_ in _HELD_TYPES:
        raise InvalidInput(
            "this type has a codec",
            subject=type_.__qualname__,
            hint="A type has one codec for good.",
        )
    codec = Codec(name, to_json, from_json)
    _by_type[type_] = codec
    _by_name[name] = codec


def identify_without(class_: type, *fields: str) -> None:
    """Leave fields of a pydantic model, and of its subclasses, out of what tells one call from another: what is drawn
    anew in every life and means nothing to the callee. They are recorded all the same.
    """
    _name_nothing[class_] = frozenset(fields)


def is_anything_left_out() -> bool:
    """Return whether `identify_without` has named any field."""
    return bool(_name_nothing)


def fields_that_name_nothing(class_: type) -> frozenset[str]:
    """Return the fields of a class that `identify_without` has named."""
    return frozenset[str]().union(*[fields for base, fields in _name_nothing.items() if issubclass(class_, base)])
