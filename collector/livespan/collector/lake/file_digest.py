"""The digest by which a published file is known again: XXH3-64 of all its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xxhash import xxh3_64

__all__ = ["file_digest"]

_CHUNK: Final = 1 << 20


def file_digest(path: Path) -> int:
    """Return the digest of a file, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    state = xxh3_64()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.intdigest()
