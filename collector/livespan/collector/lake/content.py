"""Large values on their way from the log into `content`: read frame by frame, hashed, written in row groups; never
all in memory.

    frames in log order ─▶ window (16 MB) ─▶ sorted by run and log_seq ─▶ row groups of the file

Each frame is read once, and parsed only where the values cannot be cut out of it (wire_values.py). Within a window
the states of a run stand together, so they compress against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from livespan.collector.hot import Held
from livespan.collector.lake.breather import no_pause
from livespan.collector.lake.parquet import ContentFile
from livespan.collector.lake.rows import INPUT_NAMES, OUTPUT_NAMES, RAW
from livespan.collector.log.protocol import FrameRef, LogReader
from livespan.proto import attributes as names
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.ids import content_digest
from livespan.proto.otlp import Request
from livespan.proto.record import Large, Record, RecordKind
from livespan.proto.wire_values import Unplain, plain_large_values

__all__ = ["Digests", "FrameSource", "content_kind", "has_content", "large_values", "write_content"]

_WINDOW_BYTES: Final = 16 * 1024 * 1024
"""Below glibc's 32 MB, from which on each block is fresh memory of the kernel's, zeroed page by page: to encode and
write 50 KB took 79 to 90 us in windows of 32 MB, and 49 to 58 in these."""
_GROUP_BYTES: Final = 4 * 1024 * 1024
_Row: TypeAlias = tuple[str, str, str, str, int, str, str, str, int, bytes | memoryview]


class FrameSource(Protocol):
    """Where readers of the log's frames come from: the log itself."""

    def reader(self) -> LogReader: ...


def content_kind(name: str) -> str:
    """Return what a value of this attribute is called in the content table."""
    if name == names.STATE:
        return "state"
    if name == RAW:
        return "span"
    if name in INPUT_NAMES:
        return "input"
    return "output" if name in OUTPUT_NAMES else "attribute"


def has_content(record: Record) -> bool:
    """Return whether a record has values that belong into the content table."""
    if record.kind is RecordKind.CHECKPOINT or type(record.raw) is Large:
        return True
    for value in record.attributes.values():  # noqa: SIM110  # any() over a generator costs twice as much
        if type(value) is Large:
            return True
    return False


def large_values(payload: bytes, records: Iterable[Record]) -> Iterator[tuple[Record, str, bytes | memoryview]]:
    """Yield (record, attribute name, bytes) of what these records of one frame left in it, and of states that were
    sent as text.
    """
    by_span: dict[int, Record] = {}
    for record in records:
        for value in (*record.attributes.values(), record.raw):
            if isinstance(value, Large):
                by_span[value.span] = record
        state = record.attributes.get(names.STATE)
        if isinstance(state, str):
            yield record, names.STATE, state.encode()
    if not by_span:
        return
    for span, name, data in _larges(payload, by_span):
        owner = by_span.get(span)
        if owner is not None:
            yield owner, name, data


def _larges(payload: bytes, by_span: Mapping[int, Record]) -> Iterable[tuple[int, str, bytes | memoryview]]:
    """Return (span, attribute name, bytes) of what these records left in their frame, and perhaps of others."""
    if all(record.kind is not RecordKind.FOREIGN for record in by_span.values()):
        with suppress(Unplain):
            found = plain_large_values(payload, by_span)
            if 2 * sum([len(data) for _, _, data in found]) >= len(payload):
                return found
            # A view keeps all of its payload in memory, and a window is bounded by what is wanted of them.
            return [(span, name, bytes(data)) for span, name, data in found]
    return Request(payload).larges()


class Digests:
    """The SHA-256 (hex) of large values, by record and attribute: noted while content is written, else read from the
    log.
    """

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self._known: dict[tuple[int, str], str] = {}
        self._refs: dict[int, Held] = {}

    def note(self, record: Record, name: str, digest: str) -> None:
        """Remember a digest."""
        self._known[record.log_seq, name] = digest

    def use(self, held: Iterable[Held]) -> None:
        """Say which records may be asked for, and where they lie."""
        self._refs = {each.record.log_seq: each for each in held if has_content(each.record)}

    def of(self, record: Record, name: str) -> str:
        """Return a value's digest; "" where its frame cannot be read."""
        known = self._known.get((record.log_seq, name))
        if known is not None:
            return known
        held = self._refs.get(record.log_seq)
        if held is None:
            return ""
        with self._frames.reader() as reader:
            payload = _read(reader, held.ref)
        for each, other, data in large_values(payload, [record]) if payload is not None else ():
            self.note(each, other, content_digest(data))
        return self._known.setdefault((record.log_seq, name), "")

    def forget(self, above: frozenset[int]) -> None:
        """Forget all but what belongs to these records."""
        self._known = {key: digest for key, digest in self._known.items() if key[0] in above}
        self._refs = {}


def write_content(
    file: ContentFile,
    held: Iterable[Held],
    frames: FrameSource,
    log_id: str,
    digests: Digests,
    breathe: Callable[[], object] = no_pause,
) -> int:
    """Write the content of records into the file; return how many frames could not be read (their values are lost to
    the lake).
    """
    by_frame: dict[FrameRef, list[Record]] = {}
    for each in sorted(held, key=lambda each: each.record.log_seq):
        if has_content(each.record):
            by_frame.setdefault(each.ref, []).append(each.record)
    unreadable = 0
    window: list[_Row] = []
    size = 0
    with frames.reader() as reader:
        for ref, records in by_frame.items():
            payload = _read(reader, ref)
            if payload is None:
                unreadable += 1
                continue
            breathe()
            for record, name, data in large_values(payload, records):
                digest = content_digest(data)
                digests.note(record, name, digest)
                window.append(_row(record, name, data, digest, log_id))
                size += len(data)
                if size >= _WINDOW_BYTES:
                    _flush(file, window, breathe)
                    window, size = [], 0
    _flush(file, window, breathe)
    return unreadable


def _flush(file: ContentFile, window: list[_Row], breathe: Callable[[], object]) -> None:
    window.sort(key=lambda row: (row[0], row[1], row[4]))
    for group in _groups(window):
        file.write(group)
        breathe()


def _groups(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Yield rows in groups that fill a page, or a little more."""
    start = size = 0
    for at, row in enumerate(rows, 1):
        size += row[8]
        if size >= _GROUP_BYTES or at == len(rows):
            yield rows[start:at]
            start, size = at, 0


def _row(record: Record, name: str, data: bytes | memoryview, digest: str, log_id: str) -> _Row:
    return (
        record.project,
        record.run_id,
        record.node_id.hex(),
        log_id,
        record.log_seq,
        content_kind(name),
        name,
        digest,
        len(data),
        data,
    )


def _read(reader: LogReader, ref: FrameRef) -> bytes | None:
    try:
        return reader.read(ref)
    except (Damaged, NotFound):
        return None
