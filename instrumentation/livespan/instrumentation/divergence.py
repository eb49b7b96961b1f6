"""The reason of a divergence, in words: the first place where the input asked with differs from the recorded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from livespan.instrumentation.core import ProgramChanged
from livespan.proto.errors import LivespanError
from livespan.proto.ids import NodeId

__all__ = ["first_difference", "with_difference"]

_SHOWN_CHARS: Final = 120


def with_difference(stop: ProgramChanged, asked: bytes | None, fetch: Callable[[NodeId, str], bytes]) -> ProgramChanged:
    """Add the first difference to a stop's message, where the recorded input can be had.

    Args:
        stop: which record was expected.
        asked: JSON of the input that the program asks with, None where it asks for nothing.
        fetch: returns the recorded input of a node.
    """
    call = stop.call
    if asked is None or call is None or (call.kind, call.name) != (stop.recorded.kind, stop.recorded.name):
        return stop
    try:
        recorded = msgspec.json.decode(fetch(stop.recorded.node_id, "input"))
        difference = first_difference(recorded, msgspec.json.decode(asked), "input")
    except (LivespanError, msgspec.DecodeError):
        return stop  # the stop itself is what matters; its message is only shorter
    if difference:
        stop.message = f"{stop.message}; first difference: {difference}"
        stop.args = (stop.message,)
    return stop


def first_difference(recorded: Any, asked: Any, path: str) -> str:
    """Return where two JSON values first differ, with both sides; "" where they do not."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        old, new = cast("dict[str, Any]", recorded), cast("dict[str, Any]", asked)
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                return f"{path}.{key} was {_shown(old[key])}, is absent"
            if key not in old:
                return f"{path}.{key} was absent, is {_shown(new[key])}"
            found = first_difference(old[key], new[key], f"{path}.{key}")
            if found:
                return found
        return ""
    if isinstance(recorded, list) and isinstance(asked, list):
        olds: list[Any] = recorded  # pyright: ignore[reportUnknownVariableType]  # JSON: the items may be anything
        news: list[Any] = asked  # pyright: ignore[reportUnknownVariableType]  # as above
        for index, (one, other) in enumerate(zip(olds, news, strict=False)):
            found = first_difference(one, other, f"{path}[{index}]")
            if found:
                return found
        if len(olds) != len(news):
            return f"{path} had {len(olds)} items, has {len(news)}"
        return ""
    same = recorded == asked and type(recorded) is type(asked)  # pyright: ignore[reportUnknownArgumentType]  # JSON
    return "" if same else f"{path} was {_shown(recorded)}, is {_shown(asked)}"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
