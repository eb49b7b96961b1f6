"""Text that cannot cross the command's border, as the error that says so: bytes in arguments or on stdin that are no
UTF-8, and letters that the terminal's encoding lacks.

Python hands bytes that are no UTF-8 through as lone surrogates (PEP 383). They are refused where a text is first
encoded, not in all of argv: a path, and a word for the program that `livespan run` starts, may hold any bytes.
"""

from __future__ import annotations

import sys
from typing import Final

from livespan.proto.errors import InvalidInput

__all__ = ["read_stdin", "wrong_bytes"]

_ESCAPED: Final = range(0xDC80, 0xDD00)
_SHOWN: Final = 40


def wrong_bytes(error: UnicodeEncodeError) -> InvalidInput | None:
    """Return what to tell of a text that could not be encoded, None where neither bytes nor the encoding explain it."""
    letter = error.object[error.start]
    if ord(letter) in _ESCAPED:
        around = error.object[max(error.start - _SHOWN // 2, 0) : error.start + _SHOWN // 2]
        return InvalidInput(
            "an argument, the environment or the input has bytes that are no UTF-8",
            subject=repr(around.encode("utf-8", "surrogateescape"))[1:],
            hint="Give it in UTF-8.",
        )
    if error.encoding.lower().replace("-", "") == "utf8":
        return None
    return InvalidInput(
        f"the output's encoding, {error.encoding}, has no {letter!a}",
        hint="Set PYTHONIOENCODING=utf-8, or use -o json.",
    )


def read_stdin() -> str:
    """Return all of stdin.

    Raises:
        InvalidInput: it is no text.
    """
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the input is no {error.encoding.upper()}: byte {error.object[error.start]:#04x}",
            subject=f"stdin@{error.start}",
            hint="Give it in UTF-8.",
        ) from error
