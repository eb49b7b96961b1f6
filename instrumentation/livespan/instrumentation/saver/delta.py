"""A value as what is new in it: pieces of an earlier value, and bytes between them.

    old   [3 messages: a b c]
    new   [4 messages: a b c d]     ─▶    "4", old[1:n], d

Serialised values know nothing of lists, so bytes are compared: what grows at its end differs in a length near its
beginning, and behind what was there. Both values are walked once, from place to place where they differ; who changes
much is stored whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

__all__ = ["Part", "difference", "new_bytes"]

Part: TypeAlias = bytes | tuple[int, int]
"""New bytes, or (start, length) of a piece of the earlier value."""

_ANCHOR: Final = 32
"""So many equal bytes are taken for the same place."""
_SHIFT: Final = 12
_MOST_PARTS: Final = 64


def difference(old: bytes, new: bytes) -> list[Part] | None:
    """Return the parts that make `new` of `old`; None where the two have little in common, or differ in many places."""
    parts: list[Part] = []
    at = here = inserted = 0  # in old, in new, and from where in new nothing was found in old
    while here < len(new):
        length = _equal(old, at, new, here)
        if length >= _ANCHOR:
            if inserted < here:
                parts.append(new[inserted:here])
            parts.append((at, length))
            at, here = at + length, here + length
            inserted = here
        found = _next_place(old, at, new, here)
        if found is None:
            break
        at, here = found
        if len(parts) > _MOST_PARTS:
            return None
    end = _equal_end(old, at, new, inserted)
    if end >= _ANCHOR:
        parts += [new[inserted : len(new) - end], (len(old) - end, end)]
    elif inserted < len(new):
        parts.append(new[inserted:])
    parts = [part for part in parts if part]
    return parts if new_bytes(parts) * 2 < len(new) else None


def new_bytes(parts: Sequence[Part]) -> int:
    """Return how much room parts take, about."""
    return sum([len(part) if isinstance(part, bytes) else 8 for part in parts])


def _next_place(old: bytes, at: int, new: bytes, here: int) -> tuple[int, int] | None:
    """Return where both go on alike behind a place where they differ: near by, or past what was put in or taken out."""
    for moved in range(1, 2 * _SHIFT):
        for skipped in range(max(0, moved - _SHIFT), min(moved, _SHIFT) + 1):
            anchor = old[at + skipped : at + skipped + _ANCHOR]
            if len(anchor) == _ANCHOR and new.startswith(anchor, here + moved - skipped):
                return at + skipped, here + moved - skipped
    anchor = old[at : at + _ANCHOR]
    if len(anchor) == _ANCHOR and (found := new.find(anchor, here)) >= 0:
        return at, found
    anchor = new[here : here + _ANCHOR]
    if len(anchor) == _ANCHOR and (found := old.find(anchor, at)) >= 0:
        return found, here
    return None


def _equal(old: bytes, at: int, new: bytes, here: int) -> int:
    """Return how many bytes are equal from these places on; slices are compared by the C library, halving."""
    low, high = 0, min(len(old) - at, len(new) - here)
    left, right = memoryview(old), memoryview(new)
    step = 64
    while low < high:  # in growing steps to behind the first that differs
        end = min(low + step, high)
        if left[at + low : at + end] != right[here + low : here + end]:
            high = end
            break
        low, step = end, step * 4
    else:
        return low
    while high - low > 1:
        middle = (low + high) // 2
        if left[at + low : at + middle] == right[here + low : here + middle]:
            low = middle
        else:
            high = middle
    return low


def _equal_end(old: bytes, at: int, new: bytes, here: int) -> int:
    """Return how many bytes are equal before the ends."""
    low, high = 0, min(len(old) - at, len(new) - here)
    while low < high:
        middle = (low + high + 1) // 2
        if old[len(old) - middle :] == new[len(new) - middle :]:
            low = middle
        else:
            high = middle - 1
    return low
