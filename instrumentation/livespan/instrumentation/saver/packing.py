"""A checkpoint as the state of its record: what its parent does not hold, stored against what it does hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from livespan.instrumentation.saver.packed import VERSION, PackedCheckpoint, PackedValue, Typed, Version, pack
from livespan.instrumentation.saver.recent import RecentCheckpoint
from livespan.instrumentation.saver.stored_value import StoredValue, stored

__all__ = ["copied", "packed_checkpoint"]


def packed_checkpoint(
    typed: tuple[Typed, Typed],
    parent: str,
    versions: dict[str, Version],
    changed: Mapping[str, Typed],
    new: Collection[str],
    known: RecentCheckpoint | None,
) -> tuple[bytes, RecentCheckpoint]:
    """Return a checkpoint's state, and what it holds.

    Args:
        typed: the checkpoint and its metadata.
        changed: values that its parent does not have in this version.
        new: channels with a new version, with or without a value.
        known: what the parent holds, where that is known.
    """
    before = known.values if known is not None else {}
    holds: dict[str, tuple[StoredValue, bytes]] = {}
    values: dict[str, PackedValue] = {}
    for channel, version in versions.items():
        if channel in changed:
            kind, data = changed[channel]
            base, base_data = before.get(channel, (None, b""))
            value = stored(kind, data, base, base_data)
            holds[channel] = value, data
            values[channel] = value.packed()
        elif known is not None and channel not in new and known.versions.get(channel) == version and channel in before:
            holds[channel] = before[channel]
    state = pack(PackedCheckpoint(VERSION, *typed, parent, versions, values))
    return state, RecentCheckpoint(versions, holds)


def copied(value: StoredValue, brought: set[bytes]) -> StoredValue:
    """Return a value as another thread can hold it: stored against its base where that is brought along before it."""
    if value.base is not None and value.base.digest not in brought:
        value = StoredValue(value.kind, value.digest, None, [value.data()])
    brought.add(value.digest)
    return value
