"""The one typed door to pyarrow, which has no types of its own: schemas, tables, Parquet files, datasets of them. What
is written where, and why it is encoded as it is, is lake/parquet.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

# What comes of pyarrow is Any here, and typed by the protocols below.
import pyarrow as _pyarrow  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # pyarrow has no types
import pyarrow.dataset as _dataset  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # as above
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
    "files_relation",
    "read_parquet",
    "row_groups",
]

_pa: Final = cast("Any", _pyarrow)
_pq: Final = cast("Any", _parquet)
_ds: Final = cast("Any", _dataset)
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


def arrow_table(schema: ArrowSchema, columns: Sequence[Sequence[object]]) -> ArrowTable:
    """Return a table of columns that stand in the schema's order; times are integers."""
    fields: Any = schema
    arrays = [_pa.array(values, type=fields.field(index).type) for index, values in enumerate(columns)]
    return cast("ArrowTable", _pa.Table.from_arrays(arrays, schema=schema))


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


def _start(chunk: Any) -> int:
    return int(chunk.dictionary_page_offset or chunk.data_page_offset)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def files_relation(files: Sequence[Path], schema: ArrowSchema) -> object:
    """Return Parquet files as one relation, columns and row groups pruned by the scan; no files are one without rows.

    Nothing is read yet. A column that a file lacks is NULL there, so files of older formats can be read.
    """
    if not files:
        return schema.empty_table()
    return cast("object", _ds.dataset([str(path) for path in files], schema=schema, format="parquet"))
