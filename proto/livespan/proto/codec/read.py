"""JSON to value. Nothing but what write.py writes is built: a tag names a codec, or a class that
must be of the tag's kind.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from livespan.proto.codec.classes import class_called
from livespan.proto.codec.exceptions import EXCEPTION
from livespan.proto.codec.kinds import KINDS
from livespan.proto.codec.registry import codec_named
from livespan.proto.errors import Damaged, Unrecordable

__all__ = ["decode", "decode_exception"]

_parse: Final = msgspec.json.Decoder().decode
_MALFORMED: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


def _surrogates(data: Any) -> str:
    return b64decode(data, validate=True).decode("utf-8", "surrogatepass")


def _integer(data: Any) -> int:
    return int(data, 0)


_BUILT_IN: Final[dict[str, Callable[[Any], object]]] = {
    "dict": dict,
    "float": float,
    "frozenset": frozenset,
    "int": _integer,
    "set": set,
    "str": _surrogates,
}
_KINDS: Final = {kind.name: kind for kind in (*KINDS, EXCEPTION)}


def decode(data: bytes) -> object:
    """Return the value that `encode` or `encode_input` has written.

    Raises:
        Damaged: the bytes are not what either writes.
        Unrecordable: the value needs a class or a codec that this program lacks.
    """
    try:
        tree = _parse(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged("the recorded value is not JSON", hint=str(error)) from error
    # Strings cannot hold this: their quotes are escaped.
    return _revive(tree) if b'"$type"' in data else tree


def decode_exception(data: bytes) -> BaseException | None:
    """Return the exception that `encode_exception` has written, or None where this program cannot
    make it again.
    """
    try:
        error = decode(data)
    except (Unrecordable, Damaged):
        return None
    return error if isinstance(error, BaseException) else None


def _revive(tree: Any) -> Any:
    shape = cast("type[object]", type(tree))
    if shape is list:
        items: list[Any] = tree
        for index, item in enumerate(items):
            if type(item) is dict or type(item) is list:
                items[index] = _revive(item)
        return items
    if shape is not dict:
        return tree
    fields: dict[str, Any] = tree
    for key, item in fields.items():
        if type(item) is dict or type(item) is list:
            fields[key] = _revive(item)
    return _build(fields) if "$type" in fields else fields


def _build(fields: dict[str, Any]) -> object:
    tag: str = fields["$type"]
    try:
        if tag in _KINDS:
            return _object(tag, class_called(fields["class"]), fields["value"])
        if tag == "class":
            return class_called(fields["class"])
        make = _BUILT_IN.get(tag)
        if make is not None:
            return make(fields["value"])
        codec = codec_named(tag)
        if codec is not None:
            return codec.from_json(fields["value"])
    except _MALFORMED as error:
        raise Damaged(f"the recorded {tag} cannot be rebuilt: {error}") from error
    raise Unrecordable(
        f"the record holds a value of the codec {tag!r}, which this program does not register",
        hint="Call register_codec for it before the run is opened.",
    )


def _object(tag: str, class_: type, state: Any) -> object:
    kind = _KINDS[tag]
    if not kind.fits(class_):
        raise Unrecordable(
            f"the record holds a {tag} of the class {class_.__qualname__}, which is none any more",
            hint="Bring the class back as it was, or start a new run.",
        )
    value = kind.make(class_, state)
    if type(value) is not class_:
        raise Damaged(f"the recorded {class_.__qualname__} came back as a {type(value).__qualname__}")
    return value
