"""Writing one Parquet file of the lake so that it lasts: encoding, then the file's bytes, then its folder's names.

`content` is raw bytes in 4 MB pages of zstd-3 and sorted by run, so that the states of a run, each almost the one
before it, compress against each other; a dictionary or statistics over such bytes would only cost. `nodes` has bloom
filters on run and node: a read of one run passes over most row groups of most files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from livespan.collector.arrow import ArrowTable, ParquetFile, arrow_table, create_parquet, joined
from livespan.collector.disk import Disk
from livespan.collector.lake.rows import Row, row_tables
from livespan.collector.lake.schema import CONTENT, CONTENT_COLUMNS, NODE_COLUMNS, NODES, WIDE_COLUMNS

__all__ = ["ContentFile", "content_file", "nodes_file", "sync_new_file", "write_nodes"]

_NODE_ROWS: Final = 4096
_CONTENT_ROWS: Final = 256
_PAGE_BYTES: Final = 4 * 1024 * 1024
_EACH_ITS_OWN: Final = frozenset(
    {"node_id", "call_key", "call_digest", "idempotency_key", "checkpoint_id", "state_digest", "span_digest"}
    | {"started_at", "ended_at", "started_ns", "ended_ns", "latency_ms", "writer_seq", "log_seq", "started_seq"}
)
"""Hardly a value comes twice, so a dictionary would hold them all, and the column their numbers beside it."""
_PRUNED_BY: Final = (
    *("project", "run_id", "generation", "session", "kind", "type", "status", "model"),
    *("started_at", "ended_at", "log_seq"),
)
"""What conditions are about. DuckDB reads and folds every statistic of a file each time it plans a statement: with
those of all columns, half of the time of a small one.
"""
_NODE_PAGE_BYTES: Final = 64 * 1024
"""So that a run's rows can be had without unpacking those of all others in their row group."""
_GROUP_BYTES: Final = 32 * 1024 * 1024
_ZSTD: Final[dict[str, object]] = {"compression": "zstd", "compression_level": 3, "write_page_checksum": True}
"""With a checksum a page: zstd has none here, and a flipped bit could come back as another value."""


def write_nodes(path: Path, rows: Iterable[Row], disk: Disk, count: int = _NODE_ROWS) -> None:
    """Write rows (sorted already, taken as they are written) into a new file and sync it and its name.

    Args:
        path, disk: where.
        rows: any number of them; no more than a row group is held.
        count: how many there are, about.

    Raises:
        OSError: the disk refused; what was written of the file is removed.
    """
    try:
        file = nodes_file(path, min(max(count, 1), _NODE_ROWS))
        try:
            for group in _groups(rows):
                file.write_table(group, row_group_size=_NODE_ROWS)
        finally:
            file.close()
        sync_new_file(path, disk)
    except BaseException:
        _remove(path, disk)
        raise


def nodes_file(path: Path, group_rows: int) -> ParquetFile:
    """Create a file of `nodes` whose row groups have at most so many rows; the caller closes and syncs it."""
    options = {
        **_ZSTD,
        "use_dictionary": [name for name in NODE_COLUMNS if name not in _EACH_ITS_OWN.union(WIDE_COLUMNS)],
        "write_statistics": list(_PRUNED_BY),
        "data_page_size": _NODE_PAGE_BYTES,
        "bloom_filter_options": {name: {"ndv": group_rows, "fpp": 0.01} for name in ("run_id", "node_id")},
    }
    return create_parquet(path, NODES, options)


def content_file(path: Path) -> ParquetFile:
    """Create a file of `content`; the caller closes and syncs it."""
    names = [name for name in CONTENT_COLUMNS if name not in ("bytes", "digest")]
    options = {
        **_ZSTD,
        "use_dictionary": names,
        "write_statistics": names,
        "data_page_size": _PAGE_BYTES,
        "write_batch_size": 8,
        "bloom_filter_options": {"digest": {"ndv": _CONTENT_ROWS, "fpp": 0.01}},
    }
    return create_parquet(path, CONTENT, options)


def _groups(rows: Iterable[Row]) -> Iterator[ArrowTable]:
    """Yield rows in groups that bound what encoding them takes: by number, and by their bytes."""
    parts: list[ArrowTable] = []
    count = size = 0
    for part in row_tables(rows):
        parts.append(part)
        count += part.num_rows
        size += part.nbytes
        if count >= _NODE_ROWS or size >= _GROUP_BYTES:
            yield joined(parts)
            parts, count, size = [], 0, 0
    if parts:
        yield joined(parts)


class ContentFile:
    """A file of `content` that grows by batches of rows; created with its first row. `finish` or `abandon` ends it."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.rows = 0
        self._disk = disk
        self._file: ParquetFile | None = None

    def write(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Append rows (in the order of CONTENT_COLUMNS) as row groups of their own."""
        if not rows:
            return
        if self._file is None:
            self._file = content_file(self.path)
        table: ArrowTable = arrow_table(CONTENT, list(zip(*rows, strict=True)))
        self._file.write_table(table, row_group_size=_CONTENT_ROWS)
        self.rows += len(rows)

    def finish(self) -> None:
        """Close the file and sync it and its name; nothing where no row was written."""
        if self._file is not None:
            self._file.close()
            sync_new_file(self.path, self._disk)

    def abandon(self) -> None:
        """Remove the file: what is in it will never be committed."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            _remove(self.path, self._disk)


def _remove(path: Path, disk: Disk) -> None:
    """Remove a file that was not finished: on a full disk each try would else take what was freed since the last."""
    with suppress(OSError):
        disk.remove(path)


def sync_new_file(path: Path, disk: Disk) -> None:
    """Return when a file's bytes and its name are on disk.

    Raises:
        OSError: the disk refused.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync_file(fd, path)
    finally:
        os.close(fd)
    disk.sync_folder(path.parent)
