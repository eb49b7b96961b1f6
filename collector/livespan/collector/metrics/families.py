"""The collector's own numbers: its queues, what it refused, its disk, log and lake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from livespan.collector.hot import HotTier
from livespan.collector.intake import Intake
from livespan.collector.lake.publisher import Publisher
from livespan.collector.log import Committer, FileLog
from livespan.collector.metrics.timed_disk import TimedDisk
from livespan.collector.room import Room
from livespan.proto.measured import Family, counter, gauge, histogram

__all__ = ["CollectorFamilies"]


@dataclass(frozen=True, slots=True)
class CollectorFamilies:
    """Reads the counts of a collector's parts; a call costs a millisecond or so, and holds nobody up."""

    room: Room
    committer: Committer
    intake: Intake
    hot: HotTier
    log: FileLog
    publisher: Publisher
    disk: TimedDisk

    def __call__(self) -> Iterator[Family]:
        yield gauge("livespan_build_info", "Always 1; the version is the label.", {version("livespan"): 1}, "version")
        yield from self._incoming()
        yield from self._hot_tier()
        yield from self._log_on_disk()
        yield from self._lake()

    def _incoming(self) -> Iterator[Family]:
        counts = self.intake.counts
        yield counter("livespan_acknowledged_requests", "Requests that are on disk.", counts.acknowledged_requests)
        yield counter("livespan_acknowledged_records", "Records that are on disk.", counts.acknowledged_records)
        yield counter("livespan_acknowledged_bytes", "Bytes of requests that are on disk.", counts.acknowledged_bytes)
        yield counter(
            "livespan_refusals", "Requests (invalid_span: spans) refused.", counts.refusals.by_reason(), "reason"
        )
        yield gauge("livespan_receive_bytes", "What requests hold until they are answered.", self.room.taken_bytes)
        yield gauge(
            "livespan_commit_queue_bytes", "Bytes that wait for the disk or its answer.", self.committer.pending_bytes
        )
        yield gauge(
            "livespan_index_queue_requests",
            "Acknowledged requests that wait to be indexed.",
            self.intake.unindexed_requests,
        )
        yield counter("livespan_commit_failures", "Answers that could not be delivered.", self.committer.failures)
        yield histogram(
            "livespan_commit_batch_records", "Records per batch of the log.", self.committer.batch_records.read()
        )
        yield histogram("livespan_commit_batch_bytes", "Bytes per batch of the log.", self.committer.batch_bytes.read())

    def _hot_tier(self) -> Iterator[Family]:
        hot = self.hot
        yield gauge("livespan_hot_tier_bytes", "What acknowledged, unpublished records take.", hot.size_bytes)
        yield gauge("livespan_hot_tier_limit_bytes", "Above this, requests are refused.", hot.limit_bytes)
        yield gauge("livespan_hot_tier_records", "Acknowledged records that are not published.", len(hot))
        yield counter("livespan_duplicate_records", "Records that came again and were dropped.", hot.duplicates)
        yield gauge(
            "livespan_oldest_unpublished_record_age_seconds",
            "For how long the oldest of them has been held by this process; open calls of live runs stay a while.",
            hot.oldest_age_s(),
        )

    def _log_on_disk(self) -> Iterator[Family]:
        stats = self.log.stats()
        yield gauge("livespan_log_segments", "Log files with records.", stats.segments)
        yield gauge("livespan_log_segments_bytes", "Size of log files with records.", stats.segment_bytes)
        yield gauge("livespan_log_frames_bytes", "How much of them is written.", stats.frame_bytes)
        yield gauge("livespan_log_spare_segments", "Log files that wait to be written.", stats.spares)
        yield counter("livespan_log_recycled_segments", "Log files that were freed.", stats.recycled)
        yield counter("livespan_log_spare_failures", "Times that no log file could be made ahead.", stats.failed_spares)
        yield gauge("livespan_log_damaged_places", "Damaged places met in the log.", stats.damages)
        yield gauge("livespan_log_failed", "1: the disk failed; restart the collector.", stats.poisoned)
        yield gauge("livespan_log_next_sequence", "The next record's log_seq.", self.log.next_seq)
        yield histogram(
            "livespan_file_sync_seconds", "Duration of fdatasync, log and lake.", self.disk.file_syncs.read()
        )
        yield histogram("livespan_folder_sync_seconds", "Duration of fsync of folders.", self.disk.folder_syncs.read())
        yield counter("livespan_sync_failures", "Syncs that failed.", self.disk.failures)

    def _lake(self) -> Iterator[Family]:
        counts = self.publisher.counts
        yield counter("livespan_publications", "Commits to the nodes table.", counts.publications)
        yield counter(
            "livespan_publication_failures", "Publications that failed and were tried again.", counts.failures
        )
        yield gauge("livespan_publication_failing", "1: the last publication failed.", bool(counts.failure))
        yield counter("livespan_published_records", "Records published.", counts.records)
        yield counter("livespan_published_content_rows", "Rows of the content table published.", counts.content_rows)
        yield counter(
            "livespan_unreadable_frames", "Frames whose content could not be read back.", counts.unreadable_frames
        )
        yield gauge("livespan_published_sequence", "The log_seq up to which is published.", self.publisher.watermark)
        yield histogram("livespan_publication_seconds", "Duration of publications.", counts.took.read())
        merged = self.publisher.compaction.counts
        yield counter("livespan_merges", "Commits that put merged files in the place of small ones.", merged.merges)
        yield counter("livespan_merged_files", "Files that were merged.", merged.merged_files)
        yield counter("livespan_merge_failures", "Merges that failed.", merged.failures)
