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
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from livespan.collector.hot import Held, HotTier, LakeFiles, Snapshot
from livespan.collector.lake.breather import Breather
from livespan.collector.lake.compaction import Compaction
from livespan.collector.lake.content import Digests, FrameSource, has_content, write_content
from livespan.collector.lake.open_nodes import but_open_nodes
from livespan.collector.lake.parquet import ContentFile, write_nodes
from livespan.collector.lake.published_starts import published_starts
from livespan.collector.lake.publishing import PublisherCounts, Publishing
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.rows import fold, folded_rows
from livespan.collector.lake.schema import CONTENT, NODES
from livespan.collector.lake.table import LakeFile, Table, open_table
from livespan.collector.lake.take_in import LogFrame, take_in
from livespan.collector.lake.touched import TouchedRuns
from livespan.collector.lake.views_file import write_views
from livespan.collector.notices import Notices
from livespan.proto.errors import Unavailable

__all__ = ["Publisher"]


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
        publishing: how, and whom it asks.
    """

    def __init__(
        self,
        folder: Path,
        hot: HotTier,
        frames: FrameSource,
        log_id: str,
        reader: LakeReader,
        publishing: Publishing | None = None,
    ) -> None:
        publishing = publishing or Publishing()
        self.counts = PublisherCounts()
        self._folder = folder
        self._hot = hot
        self._frames = frames
        self._log_id = log_id
        self._reader = reader
        self._how = publishing
        self._disk = publishing.disk
        self._faults = publishing.faults
        self._digests = Digests(frames)
        self._breathe = Breather(lambda: self._closing or hot.wants_publish or hot.pressed)
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
            faults=self._faults,
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

    def snapshot(self, of: Collection[str] | None = None, *, content: bool = False, whole: bool = True) -> Snapshot:
        """See `Lake.snapshot`. Where a held end's started row is published, that record stands in `hot` beside it, so
        that the end can be completed; it makes no row of its own.
        """
        snapshot = self._hot.snapshot(of)
        files = snapshot.files
        nodes = [file for file in files.nodes if of is None or file.may_hold_any(of)]
        values = [file for file in files.content if of is None or file.may_hold_any(of)] if content else []
        sound = self._reader.sound
        if whole:
            sound.check((*nodes, *values))
        else:
            nodes = [file for file in nodes if sound.is_sound(file)]
            live = {file.path for file in nodes}
            snapshot = snapshot.without([path for path in snapshot.nodes if path not in live])
        starts = published_starts(snapshot.hot, nodes, self._reader)
        return replace(snapshot, hot=(*snapshot.hot, *starts))

    def damaged_files(self) -> list[Path]:
        """Return the files of the last commits that were found damaged on the way."""
        files = self._hot.files()
        return self._reader.sound.damaged((*files.nodes, *files.content))

    def recover(self, frames: Iterable[LogFrame]) -> None:
        """Take in what the log still holds, in order, before anything is added.

        What is published is noted, so that it is known when it comes again; open nodes whose row is not published are
        held again.
        """
        take_in(frames, self._hot, self._nodes, self._reader, self._log_id)

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
        self._how.recycle(below)
        return below

    def _publish(self, last: bool) -> None:
        began_s = time.perf_counter()
        held, upto = self._hot.take()
        self._breathe.begin()
        everything = last or self._hot.pressed or self._how.crowded()
        leaving = held if everything else but_open_nodes(held, self._how)
        self._digests.use(held)
        self._faults("publish.before_content")
        self._publish_content(held, upto)
        if not leaving:
            return
        records = [each.record for each in leaving]
        records += published_starts(records, self._nodes.files, self._reader)
        folded = sorted(fold(records), key=lambda pair: (pair[0].project, pair[0].run_id, pair[0].log_seq))
        late = all(each.record.log_seq <= self._nodes.watermark for each in leaving)
        path = self._nodes.new_path(upto)
        rows = folded_rows(folded, self._log_id, self._digests.of, self._breathe)
        write_nodes(path, rows, self._disk, len(folded))
        self._faults("publish.nodes_written")
        runs = [record.run_id for record, _ in folded]
        self._pending = _Batch(path, tuple(leaving))
        file = LakeFile(path, min(runs), max(runs))
        self._nodes.commit(file, len(folded), upto, self._how.clock.wall_ns(), late=late)
        self._faults("publish.nodes_committed")
        self._settle(self._pending)
        self.counts.publications += 1
        self.counts.took.add(time.perf_counter() - began_s)

    def _publish_content(self, held: Sequence[Held], upto: int) -> None:
        # Content goes first, so what is in `nodes` has its content, whatever the content table's own watermark says.
        done = max(self._content.watermark, self._nodes.watermark)
        fresh = [each for each in held if each.record.log_seq > done and has_content(each.record)]
        file = ContentFile(self._content.new_path(upto), self._disk)
        try:
            unreadable = write_content(file, fresh, self._frames, self._log_id, self._digests, self._breathe)
            self.counts.unreadable_frames += unreadable
            file.finish()
        except BaseException:
            file.abandon()
            raise
        self._faults("publish.content_written")
        if file.rows:
            runs = [each.record.run_id for each in fresh]
            self._content.commit(LakeFile(file.path, min(runs), max(runs)), file.rows, upto, self._how.clock.wall_ns())
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

    def _files(self) -> LakeFiles:
        nodes, content = self._nodes.files, self._content.files
        self._reader.sound.keep((*nodes, *content))
        return LakeFiles(nodes, content, self._touched.update([(file.path, file.sealed) for file in nodes]))

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
            table.replace(sources, merged, self._how.clock.wall_ns())
            self._faults("compact.committed")
            self._hot.publish(self._files())
            self._sure = True
            self._write_views()
        return True

    def _sweep(self) -> None:
        with self._publishing:
            for table in (self._nodes, self._content):
                table.removed.sweep(self._how.clock.wall_ns())

    def _run(self) -> None:
        while not self._closing:
            self._hot.wait_for(lambda: self._closing or self._hot.wants_publish, self._how.publish_s)
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
                self._hot.wait_for(lambda: self._closing, self._how.publish_s)
