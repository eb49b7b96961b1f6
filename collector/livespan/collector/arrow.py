"""The one typed door to pyarrow, which has no types of its own: schemas, tables, Parquet files. What
is written where, and why it is encoded as it is, is lake/parquet.py's.
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Protocol, cast

# What comes of pyarrow is Any here, and typed by the protocols below.
import pyarrow as _pyarrow  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # pyarrow has no types
import pyarrow.parquet as _parquet  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # as above

__all__ = [
    "ArrowError",
    "ArrowSchema",
    "ArrowTable",
    "ParquetFile",
    "RowGroup",
    "arrow_schema",
    "arrow_table",
    "create_parquet",
    "gathered",
    "joined",
    "map_stream",
    "parquet_descriptor",
    "parquet_extent",
    "read_parquet",
    "row_groups",
    "stream_descriptor",
    "told_apart",
    "verified_rows",
    "verified_stream",
]

_pa: Final = cast("Any", _pyarrow)
_pq: Final = cast("Any", _parquet)
_TYPES: Final[dict[str, object]] = {
    "text": _pa.string(),
    "int": _pa.int64(),
    "float": _pa.float64(),
    "flag": _pa.bool_(),
    "time": _pa.timestamp("us", tz="UTC"),
    "bytes": _pa.binary(),
}

ArrowError: Final[type[Exception]] = _pa.ArrowException


class ArrowTable(Protocol):
    """A pyarrow.Table, as far as it is used here."""

    @property
    def num_rows(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def to_pylist(self) -> list[dict[str, Any]]: ...


class ArrowSchema(Protocol):
    """A pyarrow.Schema, as far as it is used here."""

    @property
    def names(self) -> list[str]: ...

    def empty_table(self) -> ArrowTable: ...

    def __arrow_c_schema__(self) -> object: ...


class ParquetFile(Protocol):
    """A pyarrow.parquet.ParquetWriter; its footer is written by `close`."""

    def write_table(self, table: ArrowTable, row_group_size: int) -> None: ...

    def close(self) -> None: ...


def arrow_schema(columns: Mapping[str, str]) -> ArrowSchema:
    """Return the schema of columns by name; a type is text, int, float, flag, time (UTC microseconds) or bytes."""
    return cast("ArrowSchema", _pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()]))


def arrow_table(schema: ArrowSchema, columns: Iterable[Sequence[object] | int]) -> ArrowTable:
    """Return a table of columns that stand in the schema's order; times are integers. A number instead of a column
    stands for so many NULLs.
    """
    fields: Any = schema
    arrays = [_array(values, fields.field(index).type) for index, values in enumerate(columns)]
    return cast("ArrowTable", _pa.Table.from_arrays(arrays, schema=schema))


def _array(values: Sequence[object] | int, kind: Any) -> Any:
    if isinstance(values, int):
        return _pa.nulls(values, kind)
    if kind != _TYPES["bytes"] or not values:
        return _pa.array(values, type=kind)
    parts = cast("Sequence[bytes]", values)
    ends = array("i", [0, *accumulate(map(len, parts))])
    # Arrow's own builder grows as it goes, and copies what it has each time: of 16 MB of states that is seen.
    buffers = [None, _pa.py_buffer(ends), _pa.py_buffer(b"".join(parts))]
    return _pa.Array.from_buffers(kind, len(parts), buffers)


def create_parquet(path: Path, schema: ArrowSchema, options: Mapping[str, object]) -> ParquetFile:
    """Create a Parquet file; the caller closes it, and syncs it where it must last."""
    return cast("ParquetFile", _pq.ParquetWriter(str(path), schema, **options))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> ArrowTable:
    """Read a file, whole or some columns of it.

    Raises:
        OSError, ValueError: it is no sound Parquet file (pyarrow's errors derive from these).
    """
    return cast("ArrowTable", _pq.ParquetFile(str(path)).read(columns=columns and list(columns)))


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of a Parquet file: where it lies (bytes from the file's start), and its rows, or why they cannot be
    read.
    """

    offset: int
    rows: ArrowTable | None
    failure: str = ""


def row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[RowGroup]:
    """Read a file row group by row group, each page against its checksum, and hand out these columns; without any
    named all are read and none handed out.

    Raises:
        OSError, ValueError: its footer cannot be read, so nothing else can.
    """
    file: Any = _pq.ParquetFile(str(path), page_checksum_verification=True)
    try:
        for index in range(file.metadata.num_row_groups):
            group: Any = file.metadata.row_group(index)
            kept: dict[str, Any] = {}
            failed = False
            for number in range(group.num_columns):
                chunk = group.column(number)
                name: str = chunk.path_in_schema
                if columns is not None and name not in columns:
                    continue
                # Column by column: the place of the damage is known then, and a wide file is not in memory at once.
                try:
                    column = file.read_row_group(index, columns=[name]).column(0)
                except (OSError, ValueError, ArrowError) as error:
                    failed = True
                    yield RowGroup(_start(chunk), None, f"column {name}: {_first_line(error)}")
                else:
                    if columns is not None:
                        kept[name] = column
            if not failed:
                yield RowGroup(_start(group.column(0)), cast("ArrowTable", _pa.table(kept)))
    finally:
        file.close()


def verified_rows(path: Path, schema: ArrowSchema) -> Iterator[ArrowTable]:
    """Yield a file's row groups, each page against its checksum, with exactly these columns; one that the file lacks is
    NULL.

    Raises:
        OSError, ValueError: it cannot be read, or a page is not what was written.
    """
    wanted: Any = schema
    file: Any = _pq.ParquetFile(str(path), page_checksum_verification=True)
    try:
        there = [name for name in schema.names if name in file.schema_arrow.names]
        for index in range(file.metadata.num_row_groups):
            rows: Any = file.read_row_group(index, columns=there)
            arrays = [
                rows.column(field.name).cast(field.type)
                if field.name in there
                else _pa.chunked_array([_pa.nulls(rows.num_rows, field.type)])
                for field in wanted
            ]
            yield cast("ArrowTable", _pa.Table.from_arrays(arrays, schema=wanted))
    finally:
        file.close()


def verified_stream(paths: Sequence[Path], schema: ArrowSchema) -> object:
    """Return the rows of files as one stream of batches, read as `verified_rows` does while it is consumed."""
    batches = (
        batch for path in paths for rows in verified_rows(path, schema) for batch in cast("Any", rows).to_batches()
    )
    return cast("object", _pa.RecordBatchReader.from_batches(schema, batches))


def gathered(batches: Iterable[object], schema: ArrowSchema, most_rows: int, most_bytes: int) -> Iterator[ArrowTable]:
    """Yield batches put together into tables of at most `most_rows`, fewer where they come to `most_bytes`."""
    waiting: list[Any] = []
    rows = size = 0
    for each in batches:
        batch: Any = each
        if waiting and (rows + batch.num_rows > most_rows or size + batch.nbytes > most_bytes):
            yield _table_of(waiting, schema)
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    if waiting:
        yield _table_of(waiting, schema)


def joined(tables: Sequence[ArrowTable]) -> ArrowTable:
    """Return tables of one schema as one, without a copy."""
    return cast("ArrowTable", _pa.concat_tables(tables))


def told_apart(batches: Iterable[object], column: str) -> Iterator[tuple[int, object]]:
    """Yield batches, which are sorted by a column of small numbers, cut where it changes and without it."""
    for each in batches:
        batch: Any = each
        at = batch.schema.get_field_index(column)
        values: list[int] = batch.column(at).to_pylist()
        rest = batch.remove_column(at)
        start = 0
        while start < len(values):
            stop = bisect_right(values, values[start], start)
            yield values[start], cast("object", rest.slice(start, stop - start))
            start = stop


def _table_of(batches: list[Any], schema: ArrowSchema) -> ArrowTable:
    return cast("ArrowTable", _pa.Table.from_batches(batches).cast(schema))


def parquet_extent(path: Path, column: str) -> tuple[int, str | None, str | None]:
    """Return how many rows a file has, and the least and the greatest text of a column by its row groups' statistics,
    None where one has none.

    Raises:
        OSError, ValueError: its footer cannot be read.
    """
    told: Any = _pq.read_metadata(str(path))
    at = told.schema.names.index(column)
    bounds: list[Any] = [told.row_group(index).column(at).statistics for index in range(told.num_row_groups)]
    if not bounds or not all(each is not None and each.has_min_max for each in bounds):
        return int(told.num_rows), None, None
    return int(told.num_rows), str(min(each.min for each in bounds)), str(max(each.max for each in bounds))


def _start(chunk: Any) -> int:
    return int(chunk.dictionary_page_offset or chunk.data_page_offset)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def parquet_descriptor(table: ArrowTable) -> int:
    """Return a descriptor of memory that holds a table as a Parquet file."""
    descriptor = os.memfd_create("livespan-parquet", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        _pq.write_table(table, file)
    return descriptor


def stream_descriptor(table: ArrowTable) -> int:
    """Return a descriptor of memory that holds a table as an Arrow stream, for `map_stream`; the caller closes it."""
    any_table: Any = table
    descriptor = os.memfd_create("livespan-rows", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file, _pa.ipc.new_stream(file, any_table.schema) as stream:
            stream.write_table(any_table)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def map_stream(descriptor: int) -> ArrowTable:
    """Return the table that such memory holds, without a copy; the descriptor may be closed after."""
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)  # the table's buffers keep it
    return cast("ArrowTable", _pa.ipc.open_stream(_pa.py_buffer(mapped)).read_all())
