"""LivespanSaver: a checkpointer of LangGraph's whose threads live in Livespan's collector.

    saver = ls.LivespanSaver()
    graph = builder.compile(checkpointer=saver)
    graph.invoke(inputs, {"configurable": {"thread_id": "t1"}})

How a thread is appended and read is saver/'s; here LangGraph's words become ours.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from livespan.instrumentation.saver.aside import aside, awaited
from livespan.instrumentation.saver.packed import VERSION, PackedCheckpoint, PackedWrites, Typed, Version, pack
from livespan.instrumentation.saver.packing import copied, packed_checkpoint
from livespan.instrumentation.saver.recent import Recent, RecentCheckpoint
from livespan.instrumentation.saver.thread_log import ThreadLog
from livespan.instrumentation.saver.thread_state import Place, SavedCheckpoint, SavedWrite, ThreadState
from livespan.instrumentation.settings import agent_settings, target
from livespan.proto.clock import random_float
from livespan.proto.errors import InvalidInput
from livespan.proto.home import Home

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["LivespanSaver"]

_Found: TypeAlias = list[tuple[str, SavedCheckpoint, list[SavedWrite]]]
_THREAD_ID: Final = 2_000
_TOLD: Final = ("source", "step", "run_id")
"""What of LangGraph's metadata people see in SQL, beside the parent; all of it is in the state."""


class LivespanSaver(BaseCheckpointSaver[str]):
    """Keeps LangGraph's threads in Livespan's collector; for sync and async graphs. Thread-safe.

    - `put` and `put_writes` return when the collector has acknowledged them: what they put survives the machine. A
      checkpoint is never found without the writes that were put before it. Where the collector is away they wait ten
      seconds and raise `Unavailable`; writes that could not be sent go with what is put next.
    - A value that grows is stored as what it grew by. The serialiser must give equal bytes for equal parts: behind one
      that encrypts, each version of a value is stored whole.
    - Any number of processes may write to one thread: each checkpoint is found, with its own values.
    - A deletion is a record, too: what is deleted is not returned any more, and **its bytes stay in the lake**, where
      SQL shows them as deleted.
    - A thread is no run: `runs list`, `plan` and `recover` know nothing of it, and what the saver does is no call of a
      run. In SQL it is in the view `checkpoints`, by `thread_id`.
    - A process reads a thread once, and then what is new in it; it keeps up to 64 MB of threads.
    - A mask does not reach what is kept here, since a graph needs it back as it was.

    Args:
        home, project, endpoint: where the threads are kept; see `run`.
        serde: LangGraph's serialiser of values; its own by default.
    """

    def __init__(
        self,
        *,
        home: str | os.PathLike[str] | None = None,
        project: str | None = None,
        endpoint: str | None = None,
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        settings = agent_settings()
        if home is not None:
            settings = replace(settings, home=Home(Path(home).expanduser().absolute()))
        if project is not None:
            settings = replace(settings, project=project)
        if endpoint is not None:
            settings = replace(settings, endpoint=target(endpoint))
        self._recent = Recent()
        self._threads = ThreadLog(settings, self._recent.forget)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes: the one that `config` names, or the newest of its namespace.

        Raises:
            Unavailable: the collector cannot be reached. Damaged: what is recorded cannot be read.
        """
        return aside(partial(self._get_tuple, config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's word
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first; of all threads where no `config` is given, which reads all of them.

        Args:
            filter: what their metadata must say.
            before: only checkpoints that are older than this one.
            limit: at most so many.

        Raises as `get_tuple`.
        """
        found = aside(partial(self._found, config, filter, before))
        for each in found[: max(limit, 0) if limit is not None else None]:
            yield self._tuple(*each)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: Mapping[str, Version],
    ) -> RunnableConfig:
        """Append a checkpoint and return its config; it is acknowledged then.

        Raises:
            Unavailable: it could not be appended in ten seconds.
            InvalidInput: it is larger than the collector takes.
        """
        return aside(partial(self._put, config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Append what a task wrote behind a checkpoint; it is acknowledged then. Raises as `put`."""
        aside(partial(self._put_writes, config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Append that a thread is deleted: nothing that was put before is returned any more."""
        aside(partial(self._threads.append_deletions, str(thread_id), [Place("", "")]))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Append that the checkpoints of these LangGraph runs are deleted, in all threads that have some."""
        aside(partial(self._delete_for_runs, run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Append all checkpoints and pending writes of one thread to another."""
        aside(partial(self._copy_thread, str(source_thread_id), str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Append that checkpoints are deleted: "keep_latest", all but the newest of each namespace; "delete", all.

        Of a channel that LangGraph keeps as deltas, the checkpoints back to its last snapshot are kept as well.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidInput(
                f"{strategy!r} is no strategy", subject="prune", hint='One of "keep_latest" and "delete".'
            )
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
            else:
                aside(partial(self._keep_latest, str(thread_id)))

    def get_next_version(self, current: str | int | float | None, channel: None) -> str:
        """Return the next version of a channel; no other process draws the same."""
        del channel
        number = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{number + 1:032}.{random_float():016}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return await awaited(partial(self._get_tuple, config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's word
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        found = await awaited(partial(self._found, config, filter, before))
        for each in found[: max(limit, 0) if limit is not None else None]:
            yield await awaited(partial(self._tuple, *each))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: Mapping[str, Version],
    ) -> RunnableConfig:
        """See `put`."""
        return await awaited(partial(self._put, config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `put_writes`."""
        await awaited(partial(self._put_writes, config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await awaited(partial(self.delete_thread, thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        await awaited(partial(self._delete_for_runs, run_ids))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await awaited(partial(self._copy_thread, str(source_thread_id), str(target_thread_id)))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See `prune`."""
        await awaited(partial(self.prune, thread_ids, strategy=strategy))

    def _get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, place = _place(config)
        with self._threads.reading(thread_id) as state:
            saved = state.find(place)
            writes = state.writes(saved.place) if saved is not None else []
        return self._tuple(thread_id, saved, writes) if saved is not None else None

    def _found(
        self, config: RunnableConfig | None, wanted: Mapping[str, Any] | None, before: RunnableConfig | None
    ) -> _Found:
        """Return the checkpoints that are wanted, newest first, each with its thread and its pending writes."""
        namespace: str | None = None
        checkpoint_id, end = "", (get_checkpoint_id(before) or "") if before else ""
        if config is None:
            thread_ids = self._threads.thread_ids()
        else:
            thread_id, place = _place(config)
            thread_ids, checkpoint_id = [thread_id], place.checkpoint_id
            namespace = config.get("configurable", {}).get("checkpoint_ns")
        found: _Found = []
        for thread_id in thread_ids:
            with self._threads.reading(thread_id) as state:
                checkpoints = [(saved, state.writes(saved.place)) for saved in state.checkpoints(namespace)]
            found += [
                (thread_id, saved, writes)
                for saved, writes in checkpoints
                if checkpoint_id in ("", saved.place.checkpoint_id)
                and (not end or saved.place.checkpoint_id < end)
                and (not wanted or wanted.items() <= _items(self.serde.loads_typed(saved.metadata)))
            ]
        return sorted(found, key=lambda each: each[1].place.checkpoint_id, reverse=True)

    def _tuple(self, thread_id: str, saved: SavedCheckpoint, writes: Sequence[SavedWrite]) -> CheckpointTuple:
        values = {channel: (value, value.data()) for channel, value in saved.values.items()}
        self._recent.put(thread_id, saved.place, RecentCheckpoint(saved.versions, values))
        loads = self.serde.loads_typed
        checkpoint = cast("Checkpoint", loads(saved.checkpoint))
        checkpoint["channel_versions"] = cast("Any", dict(saved.versions))
        checkpoint["channel_values"] = {channel: loads((value.kind, data)) for channel, (value, data) in values.items()}
        namespace = saved.place.namespace
        return CheckpointTuple(
            config=_config(thread_id, saved.place),
            checkpoint=checkpoint,
            metadata=loads(saved.metadata),
            parent_config=_config(thread_id, Place(namespace, saved.parent)) if saved.parent else None,
            pending_writes=[(write.task_id, write.channel, loads(write.value)) for write in writes],
        )

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: Mapping[str, Version],
    ) -> RunnableConfig:
        thread_id, parent = _place(config)
        place = Place(parent.namespace, checkpoint["id"])
        dumps = self.serde.dumps_typed
        bare = {name: value for name, value in checkpoint.items() if name not in ("channel_values", "channel_versions")}
        told = get_checkpoint_metadata(config, metadata)
        versions: dict[str, Version] = dict(checkpoint["channel_versions"])
        known = self._recent.get(thread_id, parent) if parent.checkpoint_id else None
        changed: dict[str, Typed] = {}
        for channel, version in versions.items():
            same = known is not None and channel not in new_versions and known.versions.get(channel) == version
            if not same and channel in checkpoint["channel_values"]:
                changed[channel] = dumps(checkpoint["channel_values"][channel])
        state, holds = packed_checkpoint(
            (dumps(bare), dumps(told)), parent.checkpoint_id, versions, changed, new_versions.keys(), known
        )
        self._threads.append_checkpoint(thread_id, place, state, _shown(told, parent.checkpoint_id))
        self._recent.put(thread_id, place, holds)
        return _config(config.get("configurable", {}).get("thread_id"), place)

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        if not writes:
            return
        thread_id, place = _place(config)
        typed = [
            (WRITES_IDX_MAP.get(channel, index), channel, *self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        self._threads.append_writes(thread_id, place, pack(PackedWrites(VERSION, task_id, task_path, typed)))

    def _delete_for_runs(self, run_ids: Sequence[str]) -> None:
        if not run_ids:
            return
        for thread_id in self._threads.thread_ids(run_ids):
            with self._threads.reading(thread_id) as state:
                checkpoints = state.checkpoints()
            gone = [
                saved.place for saved in checkpoints if self.serde.loads_typed(saved.metadata).get("run_id") in run_ids
            ]
            self._threads.append_deletions(thread_id, gone)

    def _keep_latest(self, thread_id: str) -> None:
        with self._threads.reading(thread_id) as state:
            kept: set[Place] = set()
            for namespace in state.namespaces():
                newest = state.find(Place(namespace, ""))
                if newest is not None:
                    kept.update(self._rested_on(newest, state))
            gone = [saved.place for saved in state.checkpoints() if saved.place not in kept]
        self._threads.append_deletions(thread_id, gone)

    def _rested_on(self, newest: SavedCheckpoint, state: ThreadState) -> Iterator[Place]:
        """Yield a checkpoint, and those before it that its delta channels are made of."""
        yield newest.place
        counted: Mapping[str, object] = self.serde.loads_typed(newest.metadata).get("counters_since_delta_snapshot", {})
        missing = {channel for channel in counted if channel not in newest.values}
        saved: SavedCheckpoint | None = newest
        while missing and saved is not None and saved.parent:
            saved = state.find(Place(saved.place.namespace, saved.parent))
            if saved is not None:
                yield saved.place
                missing -= saved.values.keys()

    def _copy_thread(self, source: str, into: str) -> None:
        copies: list[tuple[str, Place, bytes, str]] = []
        with self._threads.reading(source) as state:
            brought: set[bytes] = set()
            for saved in state.in_order():
                values = {channel: copied(value, brought).packed() for channel, value in saved.values.items()}
                packed = PackedCheckpoint(
                    VERSION, saved.checkpoint, saved.metadata, saved.parent, saved.versions, values
                )
                shown = _shown(self.serde.loads_typed(saved.metadata), saved.parent)
                copies.append(("checkpoint", saved.place, pack(packed), shown))
                for write in state.writes(saved.place):
                    one = (write.index, write.channel, *write.value)
                    state_bytes = pack(PackedWrites(VERSION, write.task_id, write.task_path, [one]))
                    copies.append(("writes", saved.place, state_bytes, ""))
        self._threads.append_copies(into, copies)


def _place(config: RunnableConfig) -> tuple[str, Place]:
    """Return which thread and checkpoint a config names."""
    told = config.get("configurable") or {}
    if not told.get("thread_id"):
        raise InvalidInput(
            "the config names no thread",
            subject="LivespanSaver",
            hint='Give one: {"configurable": {"thread_id": "..."}}.',
        )
    if len(str(told["thread_id"])) > _THREAD_ID:
        raise InvalidInput(
            f"a thread's id has at most {_THREAD_ID:,} characters", subject="LivespanSaver", hint="Use a shorter one."
        )
    return str(told["thread_id"]), Place(told.get("checkpoint_ns") or "", get_checkpoint_id(config) or "")


def _config(thread_id: Any, place: Place) -> RunnableConfig:
    told = {"thread_id": thread_id, "checkpoint_ns": place.namespace, "checkpoint_id": place.checkpoint_id}
    return {"configurable": told}


def _shown(metadata: Mapping[str, Any], parent: str) -> str:
    """Return what SQL shows of a checkpoint beside its state, as JSON."""
    told = {name: metadata[name] for name in _TOLD if isinstance(metadata.get(name), str | int)}
    return msgspec.json.encode(told | ({"parent": parent} if parent else {})).decode()


def _items(metadata: Mapping[str, Any]) -> Any:
    return metadata.items()
