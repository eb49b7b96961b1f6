"""Publishing: from the hot tier into the lake's two tables, each record exactly once whatever is interrupted.

    take ─▶ content file ─▶ content commit ─▶ nodes file ─▶ nodes commit ─▶ hot lets go, files switch ─▶ views.sql
    before_content    content_written   content_committed  nodes_written  nodes_committed          views_written

Each commit carries the `log_seq` W up to which it accounts for this log. What a crash leaves is decided by that alone:

    content   all that is large in (its watermark, W] is in the file; open nodes' inputs too
    nodes     every record up to W is in the table, or is the started record of a node that was open then: the table
    says which

Open nodes stay hot until they end, unless their run has no holder, they are older than `open_after_s`, room is short,
or this is the end. Whoever ends later is completed from the started row in the table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from livespan.collector.disk import Disk, SystemDisk
from livespan.collector.hot import Held, HotTier, LakeFiles, Snapshot
from livespan.collector.lake.compaction import Compaction
from livespan.collector.lake.content import Digests, FrameSource, has_content, write_content
from livespan.collector.lake.parquet import ContentFile, write_nodes
from livespan.collector.lake.read_back import records_of
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.rows import fold, folded_rows
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.collector.lake.table import LakeFile, Table, open_table
from livespan.collector.lake.touched import TouchedRuns
from livespan.collector.lake.views_file import write_views
from livespan.collector.log.protocol import Faults, FrameRef, no_faults
from livespan.collector.metrics.buckets import PUBLICATION_S, Buckets
from livespan.collector.notices import Notices
from livespan.proto.clock import Clock
from livespan.proto.errors import Unavailable
from livespan.proto.record import Record, RecordKind

__all__ = ["Publisher", "PublisherCounts"]

_Node = tuple[bytes, bytes]


@dataclass(slots=True)
class PublisherCounts:
    """What was published, for status and metrics. `failure` is what the last publication failed with, "" where it did
    not; `took`, the seconds that each took.
    """

    publications: int = 0
    records: int = 0
    content_rows: int = 0
    unreadable_frames: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    failure: str = ""
    took: Buckets = field(default_factory=lambda: Buckets(PUBLICATION_S))


@dataclass(frozen=True, slots=True)
class _Batch:
    """One publication: the records that leave the hot tier with the commit of `path`."""

    path: Path
    leaving: tuple[Held, ...]


class Publisher:
    """Publishes what the hot tier holds. `recover` once, then `start` or `publish_once`; `close` publishes the rest.

    Args:
        folder: the lake's: `nodes/`, `content/`, `views.sql`.
        hot: what is to be published.
        frames: the log, for large values.
        log_id: the log's uuid.
        reader: for rows that are published already.
        clock: wall time, for the age of open nodes.
        held: whether some process may start things in the run of a trace id.
        recycle: called after a publication with the `log_seq` below which the log is needed no more.
        publish_s: the thread publishes at least this often.
        open_after_s: an open node older than this is published as it is.
        crowded: whether the log is so long that open nodes may pin it no more, and are published as they are.
    """

    def __init__(
        self,
        folder: Path,
        hot: HotTier,
        frames: FrameSource,
        log_id: str,
        reader: LakeReader,
        *,
        clock: Clock,
        held: Callable[[bytes], bool],
        recycle: Callable[[int], object] = lambda _below: None,
        publish_s: float = 2.0,
        open_after_s: float = 60.0,
        crowded: Callable[[], bool] = lambda: False,
        disk: Disk | None = None,
        faults: Faults = no_faults,
    ) -> None:
        self.counts = PublisherCounts()
        self._folder = folder
        self._hot = hot
        self._frames = frames
        self._log_id = log_id
        self._reader = reader
        self._clock = clock
        self._held = held
        self._recycle = recycle
        self._publish_s = publish_s
        self._open_after_ns = int(open_after_s * 1e9)
        self._crowded = crowded
        self._disk = disk or SystemDisk()
        self._faults = faults
        self._digests = Digests(frames)
        self._publishing = threading.Lock()
        self._pending: _Batch | None = None
        self._sure = True
        self._viewed: LakeFiles | None = None
        self._closing = False
        self._notices = Notices("publisher")
        self._thread: threading.Thread | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._nodes = open_table(folder / "nodes", NODES, log_id, self._disk)
        self._content = open_table(folder / "content", CONTENT, log_id, self._disk)
        self._touched = TouchedRuns()
        hot.publish(self._files())
        self.compaction = Compaction(
            folder,
            (self._nodes, self._content),
            replace=self._replace,
            sweep=self._sweep,
            disk=self._disk,
            faults=faults,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the files of all snapshots are."""
        return self._nodes.folder, self._content.folder

    @property
    def watermark(self) -> int:
        """The `log_seq` up to which records are published, open nodes apart."""
        return self._nodes.watermark

    @property
    def accounted(self) -> int:
        """The `log_seq` up to which either table accounts for this log."""
        return max(self._nodes.watermark, self._content.watermark)

    def snapshot(self, of: Collection[str] | None = None) -> Snapshot:
        """Return what was recorded at this instant; of these run ids at the least, where they are given. Where
        a held end's started row is published, that record stands in `hot` beside it, so that the end can be completed;
        it makes no row of its own.
        """
        snapshot = self._hot.snapshot(of)
        nodes = self._hot.files().nodes
        self._reader.sound.check(nodes)
        starts = self._published_starts(snapshot.hot, nodes)
        return replace(snapshot, hot=(*snapshot.hot, *starts))

    def recover(self, frames: Iterable[tuple[Sequence[Record], FrameRef, int]]) -> None:
        """Take in what the log still holds, in order, before anything is added: (records, reference, payload size)
        per frame.

        What is published is noted, so that it is known when it comes again; open nodes whose row is not published are
        held again.
        """
        done = self._nodes.watermark
        open_starts: dict[_Node, list[Held]] = {}
        flushed = False
        for records, ref, size_bytes in frames:
            share = size_bytes // max(len(records), 1)
            fresh: list[Record] = []
            for record in records:
                if record.log_seq > done:
                    fresh.append(record)
                elif self._hot.note_published(record):
                    _follow_open(open_starts, record, Held(record, ref, share))
            if fresh:
                if not flushed:
                    self._restore(open_starts)
                    flushed = True
                self._hot.add(fresh, ref, share * len(fresh))
        if not flushed:
            self._restore(open_starts)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="livespan-publisher", daemon=True)
        self._thread.start()
        self.compaction.start()

    def close(self) -> None:
        """Stop the thread and publish everything, open nodes too.

        Raises:
            Unavailable: the last publication failed; the log still has what it lacks.
        """
        self._closing = True
        self.compaction.close()
        self._hot.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.publish_once(last=True)

    def publish_once(self, *, last: bool = False) -> int:
        """Publish all that is indexed, and return the `log_seq` below which the log is needed no more.

        Args:
            last: publish open nodes too.

        Raises:
            Unavailable: the disk or a table refused; nothing is lost, and the next publication goes on from what was
                committed.
            Conflict: a table's watermark is ahead of this log.
        """
        with self._publishing:
            try:
                self._make_sure()
                self._sure = False
                self._publish(last)
                self._sure = True
                self._write_views()
            except OSError as error:
                raise Unavailable(
                    f"the lake cannot be written ({error.strerror})",
                    subject=str(error.filename or self._folder),
                    hint="Free space on its disk, or look at it (dmesg); publishing is tried again by itself.",
                ) from error
            done = self._nodes.watermark + 1
            oldest = self._hot.oldest_seq()
            below = done if oldest is None else min(done, oldest)
        self._recycle(below)
        return below

    def _publish(self, last: bool) -> None:
        began_s = time.perf_counter()
        held, upto = self._hot.take()
        leaving = self._choose(held, last or self._hot.pressed or self._crowded())
        self._digests.use(held)
        self._faults("publish.before_content")
        self._publish_content(held, upto)
        if not leaving:
            return
        records = [each.record for each in leaving]
        records += self._published_starts(records, self._nodes.files)
        folded = sorted(fold(records), key=lambda pair: (pair[0].project, pair[0].run_id, pair[0].log_seq))
        late = all(each.record.log_seq <= self._nodes.watermark for each in leaving)
        path = self._nodes.new_path(upto)
        write_nodes(path, folded_rows(folded, self._log_id, self._digests.of), self._disk, len(folded))
        self._faults("publish.nodes_written")
        runs = [record.run_id for record, _ in folded]
        self._pending = _Batch(path, tuple(leaving))
        self._nodes.commit(LakeFile(path, min(runs), max(runs)), len(folded), upto, self._clock.wall_ns(), late=late)
        self._faults("publish.nodes_committed")
        self._settle(self._pending)
        self.counts.publications += 1
        self.counts.took.add(time.perf_counter() - began_s)

    def _choose(self, held: Sequence[Held], everything: bool) -> list[Held]:
        """Return what leaves now: all but the open nodes that may still end here."""
        ends: dict[_Node, int] = {}
        for each in held:
            record = each.record
            if record.kind is RecordKind.ENDED:
                node = (record.trace_id, record.node_id)
                ends[node] = max(ends.get(node, 0), record.log_seq)
        if everything:
            return list(held)
        now_ns = self._clock.wall_ns()
        holders: dict[bytes, bool] = {}
        leaving: list[Held] = []
        for each in held:
            record = each.record
            if record.kind is RecordKind.STARTED and ends.get((record.trace_id, record.node_id), 0) < record.log_seq:
                trace = record.trace_id
                if trace not in holders:
                    holders[trace] = self._held(trace)
                if holders[trace] and abs(now_ns - record.started_ns) <= self._open_after_ns:
                    continue
            leaving.append(each)
        return leaving

    def _publish_content(self, held: Sequence[Held], upto: int) -> None:
        # Content goes first, so what is in `nodes` has its content, whatever the content table's own watermark says.
        done = max(self._content.watermark, self._nodes.watermark)
        fresh = [each for each in held if each.record.log_seq > done and has_content(each.record)]
        file = ContentFile(self._content.new_path(upto), self._disk)
        try:
            self.counts.unreadable_frames += write_content(file, fresh, self._frames, self._log_id, self._digests)
            file.finish()
        except BaseException:
            file.abandon()
            raise
        self._faults("publish.content_written")
        if file.rows:
            runs = [each.record.run_id for each in fresh]
            self._content.commit(LakeFile(file.path, min(runs), max(runs)), file.rows, upto, self._clock.wall_ns())
            self.counts.content_rows += file.rows
        self._faults("publish.content_committed")

    def _make_sure(self) -> None:
        """Learn what became of a publication that did not come to its end: committed or not, nothing is in between."""
        if self._sure:
            return
        self._content.refresh()
        self._nodes.refresh()
        if self._pending is not None and self._nodes.holds(self._pending.path):
            self._settle(self._pending)
        else:
            self._hot.publish(self._files())  # a merge may have been cut short behind its commit
        self._pending = None
        self._sure = True

    def _settle(self, batch: _Batch) -> None:
        self._hot.publish(self._files(), batch.leaving)
        self._pending = None
        self.counts.records += len(batch.leaving)
        self._digests.forget(self._hot.held_seqs())

    def _published_starts(self, records: Sequence[Record], files: Sequence[LakeFile]) -> list[Record]:
        """Return, from the table, the started records of ends that come without one."""
        starts: dict[_Node, int] = {}
        for each in records:
            if each.kind is RecordKind.STARTED:
                node = (each.trace_id, each.node_id)
                starts[node] = min(starts.get(node, each.log_seq), each.log_seq)
        missing: dict[_Node, int] = {}
        for each in records:
            node = (each.trace_id, each.node_id)
            if each.kind is RecordKind.ENDED and starts.get(node, each.log_seq) >= each.log_seq:
                missing[node] = max(missing.get(node, 0), each.log_seq)
        if not missing or not files:
            return []
        found = [record for row in self._reader.started_rows(files, missing) for record in records_of(row)]
        return [each for each in found if each.log_seq < missing[each.trace_id, each.node_id]]

    def _restore(self, open_starts: dict[_Node, list[Held]]) -> None:
        if not open_starts:
            return
        published = self._reader.published_starts(self._nodes.files, self._log_id, open_starts)
        for group in open_starts.values():
            for held in group:
                if held.record.log_seq not in published:
                    self._hot.restore(held)

    def _files(self) -> LakeFiles:
        nodes = self._nodes.files
        return LakeFiles(nodes, self._content.files, self._touched.update([(file.path, file.sealed) for file in nodes]))

    def _write_views(self) -> None:
        files = self._files()
        if files != self._viewed:
            nodes, content = ([file.path for file in each] for each in (files.nodes, files.content))
            write_views(self._folder, nodes, content, files.plain.touched if files.plain.known else None, self._disk)
            self._viewed = files
        self._faults("publish.views_written")

    def _replace(self, table: Table, sources: Sequence[LakeFile], merged: Sequence[LakeFile]) -> bool:
        """Put merged files in the place of their sources; return False where one of them is live no more."""
        with self._publishing:
            self._make_sure()
            if not all(table.holds(source.path) for source in sources):
                return False
            self._sure = False
            table.replace(sources, merged, self._clock.wall_ns())
            self._faults("compact.committed")
            self._hot.publish(self._files())
            self._sure = True
            self._write_views()
        return True

    def _sweep(self) -> None:
        with self._publishing:
            for table in (self._nodes, self._content):
                table.removed.sweep(self._clock.wall_ns())

    def _run(self) -> None:
        while not self._closing:
            self._hot.wait_for(lambda: self._closing or self._hot.wants_publish, self._publish_s)
            if self._closing:
                return
            try:
                self.publish_once()
                self.compaction.wake()
                if self.counts.failure:
                    self._notices.info("publication recovered", failures=self.counts.failures)
                self.counts.failure = ""
                self.counts.failures_in_a_row = 0
            except Exception as error:  # noqa: BLE001  # the thread's border: told, counted, tried again
                self.counts.failures += 1
                self.counts.failures_in_a_row += 1
                if str(error) != self.counts.failure:  # each new reason once, not each try
                    self._notices.error("publication failed", error=str(error), unpublished_records=len(self._hot))
                self.counts.failure = str(error)
                self._hot.wait_for(lambda: self._closing, self._publish_s)


def _follow_open(open_starts: dict[_Node, list[Held]], record: Record, held: Held) -> None:
    """Keep track of the started records that no end covers."""
    node = (record.trace_id, record.node_id)
    if record.kind is RecordKind.STARTED:
        open_starts.setdefault(node, []).append(held)
    elif record.kind is RecordKind.ENDED:
        open_starts.pop(node, None)
