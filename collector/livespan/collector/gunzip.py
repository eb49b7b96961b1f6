"""Decompression that stops at a limit: what a small body blows up to is never held, whatever it claims."""

from __future__ import annotations

import zlib
from typing import Final

from livespan.proto.errors import InvalidInput

__all__ = ["TooLarge", "gunzip"]

_GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 1024 * 1024
_SMALLER: Final = "Send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE."


class TooLarge(InvalidInput):
    """A body has more bytes, after decompression, than are taken: 413, RESOURCE_EXHAUSTED."""


def gunzip(body: bytes, limit_bytes: int) -> bytes:
    """Return what gzip members, one after the other, hold.

    Raises:
        TooLarge: that would be more than `limit_bytes`; at most one megabyte more was ever decompressed.
        InvalidInput: it is no gzip, or ends within a member.
    """
    found = bytearray()
    rest = body
    while rest:
        member = zlib.decompressobj(_GZIP)
        try:
            while not member.eof:
                part = member.decompress(rest, _STEP_BYTES)
                rest = member.unconsumed_tail
                if not part and not rest and not member.eof:
                    raise InvalidInput("the gzip body ends too early", hint="Was it cut on its way?")
                found += part
                if len(found) > limit_bytes:
                    raise TooLarge(f"the body has more than {limit_bytes} bytes after decompression", hint=_SMALLER)
        except zlib.error as error:
            raise InvalidInput(f"the body is not gzip: {error}", hint="Content-Encoding says that it is.") from error
        rest = member.unused_data
    if not body:
        raise InvalidInput("an empty body is not gzip", hint="Content-Encoding says that it is.")
    return bytes(found)
