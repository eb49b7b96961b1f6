"""The bare disk: a 4 KB overwrite in a preallocated, already written file, and fdatasync. No database does less."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

__all__ = ["BareDisk"]

_BLOCK: Final = 4096
_BLOCKS: Final = 256


class BareDisk:
    """A file of 1 MiB to overwrite. The owner closes it."""

    def __init__(self, path: Path) -> None:
        self._at = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._descriptor, 0, _BLOCK * _BLOCKS)
        os.pwrite(self._descriptor, os.urandom(_BLOCK * _BLOCKS), 0)
        os.fsync(self._descriptor)
        self._block = os.urandom(_BLOCK)

    def overwrite_s(self) -> float:
        """Overwrite the next block, sync it, and return how long that took."""
        began_s = time.perf_counter()
        os.pwrite(self._descriptor, self._block, self._at % _BLOCKS * _BLOCK)
        os.fdatasync(self._descriptor)
        took_s = time.perf_counter() - began_s
        self._at += 1
        return took_s

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
