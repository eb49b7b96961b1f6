"""Which values are plain JSON as they stand. This is the fast path of every recorded call, on the
agent's thread.

msgspec writes tuples, sets, dates, enums and NaN as JSON without a word about their type, so a
value may go through it as it is only where this walk has seen that nothing but plain JSON is in it.
The walk is one Python loop: over 80 messages of 50 KB it takes 30 us. Going level by level through
`set(map(type, ...))` was quicker there by a tenth and slower by half for the small values that most
calls have.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Every cast would be a call of its own in the loop that is here to be fast.
from __future__ import annotations

from typing import Any, Final

__all__ = ["MAX_DEPTH", "is_plain"]

MAX_DEPTH: Final = 250
"""Levels of JSON that a value may have. Reading takes two Python frames a level and has to fit
below an agent's own stack.
"""


def is_plain(value: object, has_dollar: bool) -> bool:
    """Say whether `value` is plain JSON throughout, of exact types, at most MAX_DEPTH deep.

    Args:
        value: must be known to hold no circle and no integer of more than 64 bits: msgspec has
            written it before.
        has_dollar: whether a "$" is anywhere in it; only then is a key "$type" looked for.
    """
    # The list grows while it is walked; a None ends each level and `seen` is its length at the last
    # such end.
    todo: list[Any] = [[value], None]
    seen = 2
    depth = 0
    for container in todo:
        shape = type(container)
        if shape is dict:
            if has_dollar and "$type" in container:
                return False
            for key, item in container.items():
                if type(item) is not str:
                    kind = type(item)
                    if kind is dict or kind is list:
                        todo.append(item)
                    elif kind is float:
                        # inf - inf and nan - nan are nan.
                        if item - item != 0.0:
                            return False
                    elif kind is not int and kind is not bool and item is not None:
                        return False
                if type(key) is not str:
                    return False
        elif container is not None:
            for item in container:
                if type(item) is not str:
                    kind = type(item)
                    if kind is dict or kind is list:
                        todo.append(item)
                    elif kind is float:
                        if item - item != 0.0:
                            return False
                    elif kind is not int and kind is not bool and item is not None:
                        return False
        else:
            if len(todo) == seen:
                return True
            depth += 1
            if depth > MAX_DEPTH:
                return False
            todo.append(None)
            seen = len(todo)
    return True
