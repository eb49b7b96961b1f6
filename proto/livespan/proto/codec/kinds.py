"""Values held by the kind of their class: enums, dataclasses, named tuples, msgspec structs,
pydantic models and what pydantic says of values that are none.

A value is rebuilt from its state, below its own `__init__`, validators and `__post_init__`: those
have run once, may have had effects, and may not accept their own output. A msgspec struct is the
exception: msgspec has no door past `__post_init__`, so that runs again, and then the fields are set
to what was recorded.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any, Final, cast

import msgspec

__all__ = ["KINDS", "Kind", "held_state", "restore_state"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a whole kind of classes are held.

    Attributes:
        name: the tag in the record.
        fits: says whether a class is of this kind; asked again when a record is read, so that no
            other class is built.
        take: returns the state of a value, which is encoded in its turn.
        make: builds a value of the class from its state.
    """

    name: str
    fits: Callable[[type], bool]
    take: Callable[[Any], object]
    make: Callable[[type, Any], object]


def held_state(value: object, class_: type) -> dict[str, Any]:
    """Return every attribute that stands in `value` itself: its slots, then its `__dict__`."""
    state: dict[str, Any] = {}
    for base in class_.__mro__:
        slots: Any = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = slot
            if slot.startswith("__") and not slot.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{slot}"
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
    state.update(getattr(value, "__dict__", {}))
    return state


def restore_state(value: object, state: dict[str, Any]) -> None:
    """Set attributes past any `__setattr__` of the class, so that frozen ones take them too."""
    for name, item in state.items():
        object.__setattr__(value, name, item)


def _take_enum(value: Enum) -> object:
    # A combination of flags has no name of its own.
    return value.value if isinstance(value, Flag) else value.name


def _make_enum(class_: Any, state: Any) -> object:
    return class_(state) if issubclass(class_, Flag) else class_[state]


def _is_dataclass(class_: type) -> bool:
    if not dataclasses.is_dataclass(class_):
        return False
    try:
        object.__new__(class_)
    except TypeError:
        # It is also a dict, an int or the like, and holds more than attributes.
        return False
    return True


def _take_dataclass(value: Any) -> object:
    return held_state(value, cast("type[object]", type(value)))


def _make_dataclass(class_: Any, state: Any) -> object:
    value: object = object.__new__(class_)
    restore_state(value, state)
    return value


def _is_named_tuple(class_: type[object]) -> bool:
    # A subclass of one that has a __dict__ may hold more than its fields.
    return (
        tuple in class_.__mro__ and isinstance(getattr(class_, "_fields", None), tuple) and class_.__dictoffset__ == 0
    )


def _take_named_tuple(value: Any) -> object:
    return dict(zip(value._fields, value, strict=True))


def _make_named_tuple(class_: Any, state: Any) -> object:
    values: list[Any] = [state[name] for name in class_._fields]
    make: Any = tuple[Any, ...].__new__
    made: object = make(class_, values)
    return made


def _is_struct(class_: type) -> bool:
    return issubclass(class_, msgspec.Struct)


def _take_struct(value: Any) -> object:
    names: tuple[str, ...] = value.__struct_fields__
    fields: dict[str, Any] = {name: getattr(value, name) for name in names}
    # A struct declared with dict=True has room for more.
    return fields | getattr(value, "__dict__", {})


def _make_struct(class_: Any, state: Any) -> object:
    fields: tuple[str, ...] = class_.__struct_fields__
    value = class_(**{name: state[name] for name in fields})
    for name, item in state.items():
        if name in fields:
            msgspec.structs.force_setattr(value, name, item)
        else:
            value.__dict__[name] = item
    return value


def _pydantic_model() -> Any:
    # A model's class exists only where pydantic is loaded; it is never imported for the asking.
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)


def _is_model(class_: type) -> bool:
    model = _pydantic_model()
    return model is not None and issubclass(class_, model)


def _take_model(value: Any) -> object:
    # The state that pydantic's own pickling uses: what is in the model, unvalidated, and which
    # fields were set.
    state = _pydantic_model().__getstate__(value)
    return {
        "$fields": state["__dict__"],
        "$set": state["__pydantic_fields_set__"],
        "$extra": state["__pydantic_extra__"],
        "$private": state["__pydantic_private__"],
    }


def _make_model(class_: Any, state: Any) -> object:
    value = class_.__new__(class_)
    _pydantic_model().__setstate__(
        value,
        {
            "__dict__": state["$fields"],
            "__pydantic_fields_set__": state["$set"],
            "__pydantic_extra__": state["$extra"],
            "__pydantic_private__": state["$private"],
        },
    )
    return value


def _is_offset(class_: type) -> bool:
    # The time zone of every aware time that pydantic has parsed.
    return class_ is getattr(sys.modules.get("pydantic_core"), "TzInfo", None)


def _take_offset(value: Any) -> object:
    return value.utcoffset(None).total_seconds()


def _is_url(class_: type) -> bool:
    url: Any = getattr(sys.modules.get("pydantic.networks"), "AnyUrl", None)
    return url is not None and issubclass(class_, url)


def _is_validation_error(class_: type) -> bool:
    return class_ is getattr(sys.modules.get("pydantic_core"), "ValidationError", None)


def _take_validation_error(value: Any) -> object:
    return {"title": value.title, "errors": value.errors(include_url=False)}


def _make_validation_error(class_: Any, state: Any) -> object:
    core: Any = sys.modules["pydantic_core"]
    errors: list[dict[str, Any]] = []
    for each in state["errors"]:
        told: dict[str, Any] = {name: each[name] for name in ("loc", "input", "ctx") if name in each}
        kind: Any = each["type"]
        try:
            core.PydanticKnownError(kind, each.get("ctx"))
        except (KeyError, TypeError):  # a program's own, whose text is the template filled in
            kind = core.PydanticCustomError(kind, each["msg"], told.pop("ctx", None))
        errors.append({"type": kind, **told})
    made: object = class_.from_exception_data(state["title"], errors)
    return made


def _make_from_one(class_: Any, state: Any) -> object:
    return class_(state)


KINDS: Final = (
    Kind("enum", lambda class_: issubclass(class_, Enum), _take_enum, _make_enum),
    Kind("namedtuple", _is_named_tuple, _take_named_tuple, _make_named_tuple),
    Kind("struct", _is_struct, _take_struct, _make_struct),
    Kind("model", _is_model, _take_model, _make_model),
    Kind("offset", _is_offset, _take_offset, _make_from_one),
    Kind("url", _is_url, str, _make_from_one),
    Kind("invalid", _is_validation_error, _take_validation_error, _make_validation_error),
    Kind("dataclass", _is_dataclass, _take_dataclass, _make_dataclass),
)
"""In the order in which they are tried."""
