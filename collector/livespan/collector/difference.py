"""Where bytes part from those that should stand there: the offset that a report of damage names."""

from __future__ import annotations

__all__ = ["first_difference"]


def first_difference(found: bytes, wanted: bytes) -> int:
    """Return the offset of the first byte that differs; the shorter one's length where it is the other's beginning."""
    pairs = zip(found, wanted, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(wanted)))
