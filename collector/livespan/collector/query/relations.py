"""The lake's files as Arrow datasets: the one typed door to pyarrow.dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as _pyarrow  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # pyarrow has no types
import pyarrow.dataset as _dataset  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # as above

from livespan.collector.lake.arrow import ArrowSchema

__all__ = ["ArrowError", "files_relation"]

ArrowError: Final[type[Exception]] = cast("Any", _pyarrow).ArrowException


def files_relation(files: Sequence[Path], schema: ArrowSchema) -> object:
    """Return Parquet files as one relation, columns and row groups pruned by the scan; no files are one without rows.

    Nothing is read yet. A column that a file lacks is NULL there, so files of older formats can be read.
    """
    if not files:
        return schema.empty_table()
    return cast("Any", _dataset).dataset([str(path) for path in files], schema=schema, format="parquet")
