"""Value to JSON. Plain values go to msgspec as they are; any other is first lowered, part by part,
to plain JSON.

`encode` keeps the order of dicts, since what it writes is handed back to programs. `encode_input`
sorts their keys, so that equal arguments give equal bytes, however they were put together; sets are
sorted by both. `encode_identity` also leaves out what tells no call from another.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from livespan.proto.codec.classes import ClassName, name_of_class, pretty_name
from livespan.proto.codec.exceptions import EXCEPTION, Loose
from livespan.proto.codec.kinds import KINDS, Kind
from livespan.proto.codec.plain import MAX_DEPTH, is_plain
from livespan.proto.codec.registry import codec_of, fields_that_name_nothing, is_anything_left_out
from livespan.proto.codec.values import integer_text
from livespan.proto.errors import Unrecordable

__all__ = ["MAX_DEPTH", "encode", "encode_exception", "encode_identity", "encode_input"]

_ordered: Final = msgspec.json.Encoder().encode
_sorted: Final = msgspec.json.Encoder(order="sorted").encode

_NOT_PLAIN: Final = (
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    AttributeError,
    msgspec.MsgspecError,
)
"""What msgspec raises for what it cannot write: foreign types, lone surrogates, long integers,
circles, unset slots.
"""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_HIDDEN: Final = frozenset({"$fields", "$set", "$extra", "$private", "$state"})
_DEEP: Final = f"it is nested more than {MAX_DEPTH} levels deep"


def encode(value: object, *, root: str = "value") -> bytes:
    """Return a value as JSON (UTF-8), dicts in their own order. `root` names the value in the path
    of a refusal.

    Raises:
        Unrecordable: a part of it is held by no codec; the subject is its path, such as
            `value.address[3]`.
    """
    try:
        data = _ordered(value)
    except _NOT_PLAIN:
        return _Writer(canonical=False).write(value, root)
    if is_plain(value, b"$" in data):
        return data
    return _Writer(canonical=False).write(value, root)


def encode_input(value: object, *, root: str = "arguments") -> bytes:
    """Return a value as canonical JSON (UTF-8): equal values of equal types give equal bytes.

    Raises:
        Unrecordable: as for `encode`; the subject is a path such as
            `arguments.customer.address[3]`.
    """
    try:
        data = _sorted(value)
    except _NOT_PLAIN:
        return _Writer(canonical=True).write(value, root)
    if is_plain(value, b"$" in data):
        return data
    return _Writer(canonical=True).write(value, root)


def encode_identity(value: object, data: bytes) -> bytes:
    """Return what tells a call from others: its input as `encode_input` has written it, without the fields that
    `identify_without` has named.

    Args:
        value, data: the input, and what was written of it.
    """
    if not is_anything_left_out() or b'"$type":"model"' not in data:
        return data
    return _Writer(canonical=True, whole=False).write(value, "arguments")


def encode_exception(error: BaseException) -> bytes | None:
    """Return an exception as JSON, or None where its type has no name or an argument of it has no
    codec.
    """
    try:
        return encode(error, root="error")
    except Unrecordable:
        return None


class _Place:
    """Where a part stands: the chain up to the root, made only for parts that can refuse or have
    parts themselves.
    """

    __slots__ = ("parent", "segment", "value")

    def __init__(self, parent: _Place | None, segment: object, value: object) -> None:
        self.parent = parent
        self.segment = segment
        self.value = value

    def path(self) -> str:
        if self.parent is None:
            return str(self.segment)
        before = self.parent.path()
        if isinstance(self.segment, str):
            if self.segment in _HIDDEN:
                return before
            if self.segment.isidentifier():
                return f"{before}.{self.segment}"
        return f"{before}[{self.segment!r}]"

    def is_within(self, value: object) -> bool:
        step: _Place | None = self
        while step is not None:
            if step.value is value:
                return True
            step = step.parent
        return False


class _Writer:
    """Lowers one value. A refusal names the place, so the chain of places goes along; depth counts
    levels of JSON.
    """

    __slots__ = ("_encode", "_whole")

    def __init__(self, *, canonical: bool, whole: bool = True) -> None:
        self._encode: Callable[[object], bytes] = _sorted if canonical else _ordered
        self._whole = whole

    def write(self, value: object, root: str) -> bytes:
        try:
            return self._encode(self._lower(value, _Place(None, root, value), 0))
        except RecursionError:
            # The agent's own stack was too high for the levels that are left.
            raise Unrecordable(_DEEP, subject=root, hint="Record a flatter value.") from None

    def _lower(self, value: Any, place: _Place, depth: int) -> object:
        kind = cast("type[object]", type(value))
        if depth > MAX_DEPTH:
            raise _too_deep(place)
        if kind is dict:
            return self._lower_dict(value, place, depth)
        if kind is list:
            lowered: list[object] = []
            for index, item in enumerate(value):
                leaf = _leaf(item)
                if leaf is _NO_LEAF:
                    leaf = self._lower(item, _Place(place, index, item), depth + 1)
                lowered.append(leaf)
            return lowered
        leaf = _leaf(value)
        if leaf is not _NO_LEAF:
            return leaf
        if kind is set or kind is frozenset:
            return self._lower_set(value, place, depth)
        codec = codec_of(kind)
        if codec is not None:
            try:
                payload = codec.to_json(value)
            except Unrecordable as refusal:
                raise Unrecordable(refusal.message, subject=place.path(), hint=refusal.hint) from None
            return {"$type": codec.name, "value": self._lower(payload, place, depth + 1)}
        if isinstance(value, type):
            return {"$type": "class", "class": _class_name(value, place)}
        return self._lower_object(value, kind, place, depth)

    def _lower_dict(self, value: dict[Any, Any], place: _Place, depth: int) -> object:
        plain = "$type" not in value
        for key in value:
            if type(key) is not str or not _is_text(key):
                plain = False
                break
        below = depth + (1 if plain else 3)
        pairs: list[tuple[object, object]] = []
        for key, item in value.items():
            name = key if plain else self._lower(key, _Place(place, key, key), below)
            leaf = _leaf(item)
            if leaf is _NO_LEAF:
                leaf = self._lower(item, _Place(place, key, item), below)
            pairs.append((name, leaf))
        if plain:
            return dict(cast("list[tuple[str, object]]", pairs))
        if self._encode is _sorted:
            pairs.sort(key=lambda pair: _sorted(pair[0]))
        return {"$type": "dict", "value": pairs}

    def _lower_set(self, value: set[Any] | frozenset[Any], place: _Place, depth: int) -> object:
        items = [self._lower(item, _Place(place, item, item), depth + 2) for item in value]
        items.sort(key=_sorted)
        return {"$type": "set" if type(value) is set else "frozenset", "value": items}

    def _lower_object(self, value: object, class_: type, place: _Place, depth: int) -> object:
        if class_ is Loose:
            return self._lower_loose(cast("Loose", value), place, depth)
        kind = _kind_of(class_)
        if kind is None:
            raise _refusal(class_, place)
        try:
            state = kind.take(value)
        except AttributeError:
            raise Unrecordable("a field of it is not set", subject=place.path()) from None
        if not self._whole and kind.name == "model":
            state = _identifying(class_, cast("dict[str, Any]", state))
        name = _class_name(class_, place)
        return {"$type": kind.name, "class": name, "value": self._lower(state, place, depth + 1)}

    def _lower_loose(self, value: Loose, place: _Place, depth: int) -> object:
        held: dict[str, object] = {}
        for name, item in value.attributes.items():
            # An error that holds itself is cut there: going round to the bound would take for ever.
            if _leaf(item) is _NO_LEAF and place.is_within(item):
                continue
            try:
                held[name] = self._lower(item, _Place(place, name, item), depth + 1)
            except Unrecordable:
                continue
        return held


def _identifying(class_: type, state: dict[str, Any]) -> dict[str, Any]:
    left_out = fields_that_name_nothing(class_)
    fields = {name: item for name, item in state["$fields"].items() if name not in left_out}
    return {**state, "$fields": fields, "$set": set(state["$set"]) - left_out}


class _NoLeaf:
    __slots__ = ()


_NO_LEAF: Final = _NoLeaf()


def _leaf(value: Any) -> object:
    """Return the JSON of a value that has no parts, or _NO_LEAF."""
    kind = cast("type[object]", type(value))
    if kind is str:
        if _is_text(value):
            return value
        return {"$type": "str", "value": b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else {"$type": "int", "value": integer_text(value)}
    if kind is float:
        return value if value - value == 0.0 else {"$type": "float", "value": repr(value)}
    return value if kind is bool or value is None else _NO_LEAF


def _is_text(value: str) -> bool:
    """Say whether UTF-8 has room for a string: a lone surrogate has no bytes there."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_kinds: dict[type, Kind] = {}


def _kind_of(class_: type) -> Kind | None:
    kind = _kinds.get(class_)
    if kind is None:
        kind = next((kind for kind in (*KINDS, EXCEPTION) if kind.fits(class_)), None)
        # As in classes.py, only classes that a later life can find are kept.
        if kind is not None and name_of_class(class_) is not None:
            _kinds[class_] = kind
    return kind


def _class_name(class_: type, place: _Place) -> ClassName:
    name = name_of_class(class_)
    if name is None:
        raise Unrecordable(
            f"the class {pretty_name(class_)} cannot be imported again by its name",
            subject=place.path(),
            hint="Define it at the top level of a module.",
        )
    return name


def _refusal(class_: type, place: _Place) -> Unrecordable:
    name = pretty_name(class_)
    base = next((base for base in (str, int, float, list, dict, tuple) if issubclass(class_, base)), None)
    hint = f'register_codec({class_.__name__}, "{class_.__name__.lower()}", to_json, from_json)'
    hint = f"Teach Livespan the type: {hint}; or leave the value out of the call."
    if base is not None:
        hint = f"It is a subclass of {base.__name__}: pass a {base.__name__}. {hint}"
    return Unrecordable(f"no codec holds a value of type {name}", subject=place.path(), hint=hint)


def _too_deep(place: _Place) -> Unrecordable:
    seen: set[int] = set()
    chain: list[_Place] = []
    step: _Place | None = place
    while step is not None:
        chain.append(step)
        step = step.parent
    for step in reversed(chain):
        if id(step.value) in seen:
            return Unrecordable("it holds itself", subject=step.path(), hint="Record a value without circles.")
        seen.add(id(step.value))
    return Unrecordable(_DEEP, subject=chain[-1].path(), hint="Record a flatter value.")
