"""A channel's value as it is stored: whole, or as parts of an earlier one. Values are stored against one another as
long as what they add up to stays below the first of them, so a value that grows by little costs what it grows by, a
read goes through no more than twice the value's size, and every now and then one is whole again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import xxhash

from livespan.instrumentation.saver.delta import Part, difference, new_bytes
from livespan.instrumentation.saver.packed import PackedValue

__all__ = ["StoredValue", "stored"]

_SMALL: Final = 256
"""A value below this is stored whole."""
_PART_BYTES: Final = 64
"""What a value that is stored against another costs beside its new bytes."""


class StoredValue:
    """A value; never changed.

    Attributes:
        kind, digest: as packed.py says.
        size_bytes: of the value.
        base, parts: the value that it is stored against, None where it is whole; and its parts.
        whole_bytes: size of the last whole value that it rests on.
        since_bytes: what all values since then take.
    """

    __slots__ = ("base", "digest", "kind", "parts", "since_bytes", "size_bytes", "whole_bytes")

    def __init__(self, kind: str, digest: bytes, base: StoredValue | None, parts: Sequence[Part]) -> None:
        self.kind = kind
        self.digest = digest
        self.base = base
        self.parts = parts
        self.size_bytes = sum([len(part) if isinstance(part, bytes) else part[1] for part in parts])
        self.whole_bytes: int = self.size_bytes if base is None else base.whole_bytes
        self.since_bytes: int = 0 if base is None else base.since_bytes + new_bytes(parts) + _PART_BYTES

    def data(self) -> bytes:
        """Return the value's bytes."""
        return b"".join(self._pieces())

    def packed(self) -> PackedValue:
        """Return it as a record holds it."""
        return PackedValue(self.kind, self.digest, self.base.digest if self.base else b"", list(self.parts))

    def _pieces(self) -> Iterator[bytes]:
        """Yield the bytes in their order. A stack and no recursion: a hundred values may rest on one another."""
        open_ranges: list[tuple[StoredValue | None, int, int]] = [(self, 0, self.size_bytes)]
        while open_ranges:
            value, start, end = open_ranges.pop()
            if value is None:
                continue
            inner: list[tuple[StoredValue | None, int, int]] = []
            at = 0
            for part in value.parts:
                size = len(part) if isinstance(part, bytes) else part[1]
                low, high = max(start - at, 0), min(end - at, size)
                if low < high:
                    if isinstance(part, tuple):
                        inner.append((value.base, part[0] + low, part[0] + high))
                    elif inner:
                        inner.append((_whole(part), low, high))
                    else:
                        yield part[low:high]
                at += size
            open_ranges += inner[::-1]


def stored(kind: str, data: bytes, base: StoredValue | None, base_data: bytes = b"") -> StoredValue:
    """Return a value as it is best stored.

    Args:
        base: an earlier value of the thread that it may be stored against, with its bytes.
    """
    digest = xxhash.xxh3_128_digest(data)
    if base is not None and base.kind == kind and len(data) >= _SMALL:
        parts = difference(base_data, data)
        if parts is not None:
            against = StoredValue(kind, digest, base, parts)
            if against.since_bytes <= against.whole_bytes:
                return against
    return StoredValue(kind, digest, None, [data])


def _whole(data: bytes) -> StoredValue:
    return StoredValue("", b"", None, [data])
