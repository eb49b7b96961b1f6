"""The bare disk: an overwrite in a preallocated, already written file, and fdatasync. No database does less."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

__all__ = ["BareDisk"]

_BLOCK: Final = 4096
_BLOCKS: Final = 256


class BareDisk:
    """A file to overwrite block by block, of 1 MiB where nobody says otherwise. The owner closes it."""

    def __init__(self, path: Path, block_bytes: int = _BLOCK, blocks: int = _BLOCKS) -> None:
        self._at = 0
        self._block = os.urandom(block_bytes)
        self._blocks = blocks
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._descriptor, 0, block_bytes * blocks)
        os.pwrite(self._descriptor, os.urandom(block_bytes * blocks), 0)
        os.fsync(self._descriptor)

    def overwrite_s(self) -> float:
        """Overwrite the next block, sync it, and return how long that took."""
        began_s = time.perf_counter()
        os.pwrite(self._descriptor, self._block, self._at % self._blocks * len(self._block))
        os.fdatasync(self._descriptor)
        took_s = time.perf_counter() - began_s
        self._at += 1
        return took_s

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
