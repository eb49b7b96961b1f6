"""The hot tier: what is acknowledged and not published yet, per run, in memory. Large values stay in the log, by
reference.

    log ─▶ acknowledged ─▶ add() ─▶ hot ─▶ file committed ─▶ publish(): out of here and into the files

One thread adds (the indexer), one publishes, any may read. Each record is, at every moment, either in `files` or
here: `snapshot` and `look` hand out both as they stood at one instant.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from livespan.collector.hot_age import Ages
from livespan.collector.lake.table import LakeFile
from livespan.collector.lake.touched import PlainRuns
from livespan.collector.log.protocol import Faults, FrameRef, no_faults
from livespan.collector.run_history import RunHistory
from livespan.collector.seen import Seen
from livespan.collector.warm import WarmRuns
from livespan.proto.record import Record

__all__ = ["Held", "HotTier", "LakeFiles", "RunView", "Snapshot"]

_Key: TypeAlias = tuple[str, str]
_RECORD_BYTES: Final = 1024
"""What a record costs in memory, about, however little was sent of it."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """A record that is held, where its frame lies, and what it counts for."""

    record: Record
    ref: FrameRef
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LakeFiles:
    """What is published: the files of the last commits, and which of their runs are plain."""

    nodes: tuple[LakeFile, ...] = ()
    content: tuple[LakeFile, ...] = ()
    plain: PlainRuns = field(default=PlainRuns(), compare=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was recorded at one instant: each record is either in the files or in `hot`, never in both. `touched`: which
    plain runs have rows elsewhere, None where that is not known. `left_out`: damaged files that it lacks. `files`: all
    that were live.
    """

    nodes: tuple[Path, ...]
    content: tuple[Path, ...]
    hot: tuple[Record, ...]
    touched: frozenset[str] | None
    left_out: tuple[Path, ...] = ()
    files: LakeFiles = field(default=LakeFiles(), compare=False)

    def without(self, files: Collection[Path]) -> Snapshot:
        """Return it without these files."""
        return replace(
            self,
            nodes=tuple([path for path in self.nodes if path not in files]),
            content=tuple([path for path in self.content if path not in files]),
            left_out=(*self.left_out, *files),
        )


@dataclass(slots=True)
class HotRun:
    """The records of one generation of a run, by `log_seq`, and what they amount to."""

    history: RunHistory
    held: dict[int, Held] = field(default_factory=dict[int, Held])


@dataclass(frozen=True, slots=True)
class RunView:
    """A run id at one instant.

    Attributes:
        files: what is published.
        histories: what is not, by generation: the history of those records alone, and the records themselves.
        warm: the history of what is published of the newest generation, where it is kept in memory; a copy.
    """

    files: LakeFiles
    histories: dict[int, tuple[RunHistory, list[Held]]]
    warm: RunHistory | None = None


class HotTier:
    """See the module. Thread-safe.

    Args:
        limit_bytes: `full_with` says so from here on.
        publish_records: `wants_publish` from this many new records on, and from half of the limit.
        warm_bytes: bound of the histories that are kept of published runs.
        faults: told of each step; a seam for tests.
    """

    def __init__(
        self,
        limit_bytes: int = 256 * 1024 * 1024,
        publish_records: int = 4000,
        warm_bytes: int = 64 * 1024 * 1024,
        faults: Faults = no_faults,
    ) -> None:
        self._faults = faults
        self._warm = WarmRuns(warm_bytes)
        self._limit_bytes = limit_bytes
        self._publish_records = publish_records
        self._changed = threading.Condition()
        self._runs: dict[_Key, dict[int, HotRun]] = {}
        self._seen = Seen()
        self._files = LakeFiles()
        self._bytes = 0
        self._records = 0
        self._fresh = 0
        self._fresh_bytes = 0
        self._indexed_seq = 0
        self._ages = Ages()
        self.duplicates = 0
        self.on_new: Callable[[Record], None] | None = None
        """Told of each record that `add` has indexed, by its thread; must neither wait nor raise."""

    @property
    def pressed(self) -> bool:
        """Whether room is short enough to publish open nodes before their time."""
        return self._bytes >= self._limit_bytes * 3 // 4

    @property
    def wants_publish(self) -> bool:
        """Whether enough came since the last publication took what was there."""
        return self._fresh >= self._publish_records or self._fresh_bytes >= self._limit_bytes // 2

    @property
    def indexed_seq(self) -> int:
        """The `log_seq` up to which everything was indexed."""
        return self._indexed_seq

    @property
    def size_bytes(self) -> int:
        """What the held records count for."""
        return self._bytes

    @property
    def limit_bytes(self) -> int:
        """The bound of `size_bytes`."""
        return self._limit_bytes

    def full_with(self, more_bytes: int) -> bool:
        """Return whether nothing more should be let in until a publication made room, where so much is to come yet."""
        return self._bytes + more_bytes >= self._limit_bytes

    def __len__(self) -> int:
        return self._records

    def add(
        self, request_records: Sequence[Record], ref: FrameRef, payload_bytes: int, last_seq: int | None = None
    ) -> None:
        """Index the records of an acknowledged frame; those seen before are dropped, and counted.

        Args:
            request_records: in log order.
            ref: where the frame lies.
            payload_bytes: its size; each record counts for its share.
            last_seq: the frame's last `log_seq`, where refused spans stand behind its last record.
        """
        share = payload_bytes // max(len(request_records), 1) + _RECORD_BYTES
        self._faults("hot.before_index")
        with self._changed:
            for record in request_records:
                if self._seen.add(record):
                    self._hold(Held(record, ref, share))
                    self._fresh += 1
                    self._fresh_bytes += share
                    if self.on_new is not None:
                        self.on_new(record)
                else:
                    self.duplicates += 1
            if last_seq is None:
                last_seq = request_records[-1].log_seq if request_records else 0
            self._indexed_seq = max(self._indexed_seq, last_seq)
            self._ages.note(self._indexed_seq, time.monotonic())
            self._changed.notify_all()
        self._faults("hot.indexed")

    def note_published(self, record: Record) -> bool:
        """At start: note a record that is published, so that it is known when it comes again; return whether it was
        new.
        """
        with self._changed:
            self._indexed_seq = max(self._indexed_seq, record.log_seq)
            return self._seen.add(record)

    def restore(self, held: Held) -> None:
        """At start: hold an open node's started record again; it was noted before."""
        with self._changed:
            self._hold(held)

    def wait_indexed(self, seq: int, timeout_s: float) -> bool:
        """Return whether everything up to `seq` is indexed, waiting for it."""
        with self._changed:
            return self._changed.wait_for(lambda: self._indexed_seq >= seq, timeout_s)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition, looked at after each change and each `wake`, holds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def wake(self) -> None:
        """Have every `wait_for` look again."""
        with self._changed:
            self._changed.notify_all()

    def take(self) -> tuple[list[Held], int]:
        """Return all that is held, by run and `log_seq`, and the `log_seq` up to which that is complete."""
        with self._changed:
            runs = [run.held.copy() for _, group in sorted(self._runs.items()) for _, run in sorted(group.items())]
            upto = self._indexed_seq
            self._fresh = self._fresh_bytes = 0
        return [held[seq] for held in runs for seq in sorted(held)], upto

    def held_seqs(self) -> frozenset[int]:
        """Return the `log_seq` of all that is held."""
        with self._changed:
            return frozenset([seq for group in self._runs.values() for run in group.values() for seq in run.held])

    def publish(self, files: LakeFiles, left: Iterable[Held] = ()) -> None:
        """Let records go that are in the files now, and hand out these files from here on, in one step."""
        self._faults("hot.before_publish")
        leaving = _by_generation(left)  # ahead of the lock, which whoever is acknowledged waits for
        with self._changed:
            self._files = files
            for (key, generation), going in leaving.items():
                self._let_go(key, generation, going)
            self._changed.notify_all()
        self._faults("hot.published")

    def snapshot(self, of: Collection[str] | None = None) -> Snapshot:
        """Return what was recorded at this instant; of these run ids at the least, where they are given."""
        with self._changed:
            files = self._files
            groups = [(key[1], group) for key, group in self._runs.items() if of is None or key[1] in of]
            runs = [list(run.held.values()) for _, group in groups for run in group.values()]
            touched = files.plain.touched_with([run_id for run_id, _ in groups]) if files.plain.known else None
        if touched is not None and of is not None:
            touched = touched.intersection(of)
        return Snapshot(
            tuple([file.path for file in files.nodes if of is None or file.may_hold_any(of)]),
            tuple([file.path for file in files.content if of is None or file.may_hold_any(of)]),
            tuple([held.record for run in runs for held in run]),
            touched,
            files=files,
        )

    def look(self, project: str, run_id: str) -> RunView:
        """Return what is known of a run id at this instant."""
        with self._changed:
            group = self._runs.get((project, run_id), {})
            histories = {generation: (run.history.copy(), list(run.held.values())) for generation, run in group.items()}
            warm = self._warm.get((project, run_id))
            return RunView(self._files, histories, warm.copy() if warm is not None else None)

    def warm_up(self, files: LakeFiles, history: RunHistory) -> None:
        """Keep the history of what these files hold of a run, unless something was published since they were read."""
        with self._changed:
            if self._files is files:
                self._warm.put(history)

    def files(self) -> LakeFiles:
        """Return what is published."""
        return self._files

    def frame_of(self, record: Record) -> FrameRef | None:
        """Return where the frame of a held record lies, or None where it left."""
        with self._changed:
            run = self._runs.get((record.project, record.run_id), {}).get(record.generation)
            held = run.held.get(record.log_seq) if run else None
            return held.ref if held else None

    def oldest_seq(self) -> int | None:
        """Return the least `log_seq` that is held."""
        with self._changed:
            return self._oldest_seq()

    def oldest_age_s(self) -> float:
        """Return for how long the oldest record has been held, in this process's life; 0 where none is held."""
        with self._changed:
            oldest = self._oldest_seq()
            if oldest is None:
                return 0.0
            self._ages.forget_below(oldest)
            return self._ages.age_s(oldest, time.monotonic())

    def _oldest_seq(self) -> int | None:
        return min((min(run.held) for group in self._runs.values() for run in group.values()), default=None)

    def _hold(self, held: Held) -> None:
        record = held.record
        key = (record.project, record.run_id)
        group = self._runs.get(key)
        if group is None:
            group = self._runs[key] = {}
        run = group.get(record.generation)
        if run is None:
            run = group[record.generation] = HotRun(RunHistory(record.project, record.run_id, record.generation))
        run.held[record.log_seq] = held
        run.history.add(record)
        self._bytes += held.size_bytes
        self._records += 1

    def _let_go(self, key: _Key, generation: int, going: dict[int, Held]) -> None:
        run = self._runs[key][generation]
        run.held = {seq: held for seq, held in run.held.items() if seq not in going}
        self._bytes -= sum([held.size_bytes for held in going.values()])
        self._records -= len(going)
        if key in self._warm:
            for held in going.values():
                self._warm.published(held.record, held.size_bytes)
        if run.held:
            run.history = RunHistory(key[0], key[1], generation)
            for held in run.held.values():
                run.history.add(held.record)
            return
        group = self._runs[key]
        del group[generation]
        if not group:
            del self._runs[key]


def _by_generation(left: Iterable[Held]) -> dict[tuple[_Key, int], dict[int, Held]]:
    found: dict[tuple[_Key, int], dict[int, Held]] = {}
    for held in left:
        record = held.record
        found.setdefault(((record.project, record.run_id), record.generation), {})[record.log_seq] = held
    return found
