"""The calls that Python does not offer in the form that the spool needs, typed.

Two loaders are used on purpose: `CDLL` releases the GIL (right for populating megabytes in the background), `PyDLL`
keeps it (right for a one-byte write on the agent's thread: giving the GIL away costs up to 5 ms when another thread
is busy).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from typing import Final

__all__ = ["cover_with_private_pages", "populate", "write_byte"]

_MADV_POPULATE_WRITE: Final = 23
_MAP_FIXED: Final = 0x10
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

_background = ctypes.CDLL(None, use_errno=True)
_background.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_background.madvise.restype = ctypes.c_int

_inline = ctypes.PyDLL(None, use_errno=True)
_inline.write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_inline.write.restype = ctypes.c_ssize_t
_inline.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_inline.mmap.restype = ctypes.c_void_p


def _address(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def populate(mapping: mmap.mmap) -> None:
    """Fault in every page of a writable mapping, so that no later store waits for the file system.

    Raises:
        OSError: the pages cannot be had (the device failed, memory ran out).
    """
    size = len(mapping)
    if _background.madvise(_address(mapping), size, _MADV_POPULATE_WRITE) == 0:
        return
    code = ctypes.get_errno()
    if code != errno.EINVAL:
        raise OSError(code, os.strerror(code))
    # Linux before 5.14 has no such advice: touch each page by hand.
    for offset in range(0, size, mmap.PAGESIZE):
        mapping[offset] = 0


def cover_with_private_pages(mapping: mmap.mmap) -> None:
    """Put private, empty pages over a mapping: from here on no store through it reaches the file.

    Raises:
        OSError: the kernel refused.
    """
    got = _inline.mmap(
        _address(mapping),
        len(mapping),
        mmap.PROT_READ | mmap.PROT_WRITE,
        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED,
        -1,
        0,
    )
    if got == _MAP_FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_byte(fd: int) -> bool:
    """Write one byte without giving the GIL away; False where the descriptor takes none (it is full, it is closed)."""
    return bool(_inline.write(fd, b"\x01", 1) == 1)
