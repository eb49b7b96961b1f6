"""What the records of a thread amount to: its checkpoints, their values and pending writes. Records are added in log
order and never taken back; a deletion hides what was before it.

Values stay reachable by their digest though the checkpoints that brought them are deleted: others may rest on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livespan.instrumentation.saver.packed import (
    PackedCheckpoint,
    PackedValue,
    Typed,
    Version,
    read_checkpoint,
    read_writes,
)
from livespan.instrumentation.saver.stored_value import StoredValue
from livespan.proto.errors import Damaged
from livespan.proto.v1.livespan_pb2 import ThreadRecord

__all__ = ["Place", "SavedCheckpoint", "SavedWrite", "ThreadState"]


@dataclass(frozen=True, slots=True)
class Place:
    """Which checkpoint of a thread."""

    namespace: str
    checkpoint_id: str


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint that was put; the fields are packed.py's."""

    place: Place
    checkpoint: Typed
    metadata: Typed
    parent: str
    versions: dict[str, Version]
    values: dict[str, StoredValue]


@dataclass(frozen=True, slots=True)
class SavedWrite:
    """A pending write."""

    task_id: str
    task_path: str
    index: int
    channel: str
    value: Typed


class ThreadState:
    """One thread; one thread of the process at a time.

    Attributes:
        order: of the newest record; 0 = none.
        records: how many there are.
        size_bytes: about what this takes in memory.
    """

    __slots__ = ("_checkpoints", "_put", "_values", "_writes", "order", "records", "size_bytes")

    def __init__(self) -> None:
        self.order = 0
        self.records = 0
        self.size_bytes = 0
        self._checkpoints: dict[str, dict[str, SavedCheckpoint]] = {}
        self._put: dict[Place, SavedCheckpoint] = {}
        self._writes: dict[Place, dict[tuple[str, int], SavedWrite]] = {}
        self._values: dict[bytes, StoredValue] = {}

    def add(self, record: ThreadRecord) -> None:
        """Take the next record into account.

        Raises:
            Damaged: it cannot be read, or what it rests on is not here.
        """
        place = Place(record.namespace, record.checkpoint_id)
        match record.event:
            case "checkpoint":
                self._add_checkpoint(place, read_checkpoint(record.state))
            case "writes":
                self._add_writes(place, record.state)
            case "deleted":
                self._delete(place)
            case _:
                pass  # of a newer Livespan
        self.order = record.order
        self.records += 1
        self.size_bytes += len(record.state) + 1024

    def namespaces(self) -> list[str]:
        """Return the namespaces that have checkpoints."""
        return [namespace for namespace, here in self._checkpoints.items() if here]

    def find(self, place: Place) -> SavedCheckpoint | None:
        """Return a checkpoint; the newest of its namespace where no id is given; None where there is none."""
        here = self._checkpoints.get(place.namespace)
        if not here:
            return None
        return here.get(place.checkpoint_id) if place.checkpoint_id else here[max(here)]

    def checkpoints(self, namespace: str | None = None) -> list[SavedCheckpoint]:
        """Return the checkpoints, of one namespace or of all, newest first."""
        groups = self._checkpoints.values() if namespace is None else [self._checkpoints.get(namespace, {})]
        found = [saved for here in groups for saved in here.values()]
        return sorted(found, key=lambda saved: saved.place.checkpoint_id, reverse=True)

    def in_order(self) -> Iterator[SavedCheckpoint]:
        """Yield the checkpoints in the order in which they were put."""
        for place, saved in self._put.items():
            if self.find(place) is saved:
                yield saved

    def writes(self, place: Place) -> list[SavedWrite]:
        """Return a checkpoint's pending writes, in the order in which LangGraph applies them."""
        found = self._writes.get(place, {}).values()
        return sorted(found, key=lambda write: (write.task_path, write.task_id, write.index))

    def _add_checkpoint(self, place: Place, told: PackedCheckpoint) -> None:
        parent = self._put.get(Place(place.namespace, told.parent))
        values: dict[str, StoredValue] = {}
        for channel, version in told.versions.items():
            if channel in told.values:
                values[channel] = self._value(told.values[channel])
            elif parent is not None and channel in parent.values and parent.versions.get(channel) == version:
                values[channel] = parent.values[channel]
        saved = SavedCheckpoint(place, told.checkpoint, told.metadata, told.parent, told.versions, values)
        self._put.pop(place, None)
        self._put[place] = saved
        self._checkpoints.setdefault(place.namespace, {})[place.checkpoint_id] = saved

    def _value(self, told: PackedValue) -> StoredValue:
        known = self._values.get(told.digest)
        if known is not None and known.kind == told.kind:
            return known
        base = self._values.get(told.base) if told.base else None
        if base is None and told.base:
            raise Damaged("a value of a thread rests on one that is not there", subject="thread")
        value = self._values[told.digest] = StoredValue(told.kind, told.digest, base, told.parts)
        return value

    def _add_writes(self, place: Place, state: bytes) -> None:
        told = read_writes(state)
        here = self._writes.setdefault(place, {})
        for index, channel, kind, data in told.writes:
            key = (told.task_id, index)
            if index >= 0 and key in here:
                continue  # a task that is run again writes the same; what LangGraph says of a task is said anew
            here[key] = SavedWrite(told.task_id, told.task_path, index, channel, (kind, data))

    def _delete(self, place: Place) -> None:
        if not place.checkpoint_id:
            self._checkpoints.clear()
            self._writes.clear()
            return
        self._checkpoints.get(place.namespace, {}).pop(place.checkpoint_id, None)
        self._writes.pop(place, None)
