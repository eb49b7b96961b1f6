"""What the records of a thread hold as their state, version 1: MessagePack, each an array of its fields in this order.

    checkpoint   [1, checkpoint, metadata, parent, versions, values]
    writes       [1, task id, task path, [[index, channel, kind, bytes], ...]]
    deleted      nothing

`checkpoint` and `metadata` are [kind, bytes] as LangGraph's serde gave them, the checkpoint without its channels'
values and versions. `parent` is a checkpoint's id, or "". `versions` maps channels to their versions. A channel has its
value from `values`; if it is not there, from the parent, where that has the same version of it; else it has none.

A value is [kind, digest, base, parts]: its digest is XXH3-128 of its bytes, and these are its parts, joined: new bytes,
or [start, length] of the value whose digest is `base`, which an earlier record of the thread holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import msgspec

from livespan.proto.errors import Damaged, InvalidInput

__all__ = [
    "VERSION",
    "PackedCheckpoint",
    "PackedValue",
    "PackedWrites",
    "Typed",
    "Version",
    "pack",
    "read_checkpoint",
    "read_writes",
]

VERSION: Final = 1
Typed: TypeAlias = tuple[str, bytes]
"""What `dumps_typed` gives: a kind, and the bytes."""
Version: TypeAlias = str | int | float


class PackedValue(msgspec.Struct, frozen=True, array_like=True):
    """A channel's value; see the module."""

    kind: str
    digest: bytes
    base: bytes
    parts: list[bytes | tuple[int, int]]


class PackedCheckpoint(msgspec.Struct, frozen=True, array_like=True):
    """A checkpoint; see the module."""

    version: int
    checkpoint: Typed
    metadata: Typed
    parent: str
    versions: dict[str, Version]
    values: dict[str, PackedValue]


class PackedWrites(msgspec.Struct, frozen=True, array_like=True):
    """The pending writes of one task; the index says which write it is, those that LangGraph names itself below 0."""

    version: int
    task_id: str
    task_path: str
    writes: list[tuple[int, str, str, bytes]]


pack: Final[Callable[[PackedCheckpoint | PackedWrites], bytes]] = msgspec.msgpack.Encoder().encode
_T = TypeVar("_T", PackedCheckpoint, PackedWrites)
_as_checkpoint: Final = msgspec.msgpack.Decoder(PackedCheckpoint).decode
_as_writes: Final = msgspec.msgpack.Decoder(PackedWrites).decode


def read_checkpoint(state: bytes) -> PackedCheckpoint:
    """Return a checkpoint's fields.

    Raises:
        Damaged: the bytes are none.
        InvalidInput: they are of another version.
    """
    return _read(_as_checkpoint, state)


def read_writes(state: bytes) -> PackedWrites:
    """Return the fields of pending writes; raises as `read_checkpoint`."""
    return _read(_as_writes, state)


def _read(decode: Callable[[bytes], _T], state: bytes) -> _T:
    try:
        read = decode(state)
    except msgspec.DecodeError as error:
        raise Damaged(
            f"a record of a thread cannot be read: {error}", subject="thread", hint="Run `livespan verify`."
        ) from error
    if read.version != VERSION:
        raise InvalidInput(
            f"a record of a thread has format {read.version}, this Livespan reads {VERSION}",
            subject="thread",
            hint="Use the Livespan that wrote it, or a newer one.",
        )
    return read
