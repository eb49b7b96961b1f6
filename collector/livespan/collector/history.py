"""What is known of a run, from hot tier and lake together, and the content of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livespan.collector.hot import HotTier, RunView
from livespan.collector.lake.content import FrameSource
from livespan.collector.lake.read_back import records_of
from livespan.collector.lake.reader import LakeReader
from livespan.collector.lake.rows import INPUT_NAMES, OUTPUT_NAMES, RAW, Stored
from livespan.collector.run_history import RunHistory
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.ids import content_digest
from livespan.proto.otlp import Request
from livespan.proto.record import AttributeValue, Large, Record

__all__ = ["History"]

_ALIASES = {"input": INPUT_NAMES, "output": OUTPUT_NAMES, "state": (names.STATE,), "span": (RAW,)}


class History:
    """Answers from what is acknowledged, published or not. Thread-safe."""

    def __init__(self, hot: HotTier, lake: LakeReader, frames: FrameSource) -> None:
        self._hot = hot
        self._lake = lake
        self._frames = frames

    def run(self, project: str, run_id: str, generation: int | None = None) -> RunHistory | None:
        """Return a run's history, of its newest generation where none is given; None where nothing is recorded.

        Raises:
            Damaged: a file of the lake cannot be read.
        """
        found = self.whole(project, run_id, generation)
        return found if found is not None and found.is_run else None

    def whole(self, project: str, run_id: str, generation: int | None = None) -> RunHistory | None:
        """Return all that stands under a run id, as `run` does; a thread's records too (threads.py)."""
        view = self._hot.look(project, run_id)
        history = self._newest(view, project, run_id)
        if history is None:
            return None
        if generation not in (None, history.generation):
            rows = self._lake.run_rows(view.files.nodes, project, run_id, generation)
            history = _folded(RunHistory(project, run_id, generation or 0), rows)
        hot, held = view.histories.get(history.generation, (None, ()))
        if not history.trace_id:
            return hot  # nothing of it is published
        for each in held:
            history.add(each.record)
        return history

    def _newest(self, view: RunView, project: str, run_id: str) -> RunHistory | None:
        """Return what is published of the newest generation, empty where that is hot alone; it is warm from here on."""
        newest = max(view.histories, default=-1)
        history = view.warm
        if history is None:
            rows = self._lake.run_rows(view.files.nodes, project, run_id, None)
            published = rows[0]["generation"] if rows else -1
            if isinstance(published, int) and published >= max(newest, 0):
                history = _folded(RunHistory(project, run_id, published), rows)
                self._hot.warm_up(view.files, history.copy())
            elif newest < 0:
                return None
        if history is None or history.generation < newest:
            history = RunHistory(project, run_id, newest)
            self._hot.warm_up(view.files, history.copy())
        return history

    def content(self, record: Record, name: str) -> bytes:
        """Return the bytes of a record's value, whether it is small or large, published or not.

        Args:
            record: one that `run` returned.
            name: "input", "output", "state", "span" (a foreign record's own bytes), or an attribute's name.

        Raises:
            NotFound: the record has no such value.
            Damaged: the stored bytes are not those that were recorded.
        """
        attribute, value = _value(record, name)
        if isinstance(value, Stored):
            return self._stored(record, value, attribute)
        if isinstance(value, Large):
            return self._unpublished(record, value, attribute)
        return value if isinstance(value, bytes) else str(value).encode()

    def _stored(self, record: Record, value: Stored, attribute: str) -> bytes:
        data = None
        if value.digest:
            data = self._lake.content(self._hot.files().content, record.run_id, value.digest)
        if data is None:
            raise Damaged(
                "the content is not in the lake", subject=_subject(record, attribute), hint="Run `livespan verify`."
            )
        return _checked(data, value.digest, record, attribute)

    def _unpublished(self, record: Record, value: Large, attribute: str) -> bytes:
        ref = self._hot.frame_of(record)
        if ref is not None:
            try:
                with self._frames.reader() as reader:
                    payload = reader.read(ref)
            except NotFound:
                pass  # published and recycled since: it is in the lake
            else:
                return Request(payload).large(value.span, attribute)
        found = self._lake.content_at(self._hot.files().content, record.run_id, record.log_seq, attribute)
        if found is None:
            raise Damaged(
                "the content is neither in the log nor in the lake",
                subject=_subject(record, attribute),
                hint="Run `livespan verify`.",
            )
        return _checked(found[1], found[0], record, attribute)


def _folded(history: RunHistory, rows: Sequence[Mapping[str, object]]) -> RunHistory:
    """Add the records of published rows to a history, each once, and return it."""
    seen: set[tuple[str, int]] = set()
    for row in rows:
        for record in records_of(row):
            if record.writer:
                if (record.writer, record.writer_seq) in seen:
                    continue
                seen.add((record.writer, record.writer_seq))
            history.add(record)
    return history


def _value(record: Record, name: str) -> tuple[str, AttributeValue]:
    for attribute in _ALIASES.get(name, (name,)):
        if attribute == RAW and record.raw:
            return RAW, record.raw
        value = record.attributes.get(attribute)
        if value is not None:
            return attribute, value
    raise NotFound(f"the record has no {name}", subject=_subject(record, name))


def _checked(data: bytes, digest: str, record: Record, attribute: str) -> bytes:
    if content_digest(data) != digest:
        raise Damaged(
            "the stored bytes do not have the digest that was recorded",
            subject=_subject(record, attribute),
            hint="Run `livespan verify`; restore the file from a copy.",
        )
    return data


def _subject(record: Record, attribute: str) -> str:
    return f"run {record.run_id}, node {record.node_id.hex()}, {attribute}"
