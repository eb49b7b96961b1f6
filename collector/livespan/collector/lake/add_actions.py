"""The files that a Delta table names, with their bounds: the one typed door to what delta-rs answers as arro3 tables,
which have no types. All else of deltalake is typed by itself.
"""

from __future__ import annotations

from typing import Any, cast

from deltalake import DeltaTable

__all__ = ["add_actions"]


def add_actions(delta: DeltaTable) -> list[dict[str, Any]]:
    """Return one mapping a live file: `path` within the table, and `min.<column>`, `max.<column>` where known."""
    answer = cast("Any", delta.get_add_actions(flatten=True))
    return [row for batch in answer.to_batches() for row in _rows(batch)]


def _rows(batch: Any) -> list[dict[str, Any]]:
    names = [field.name for field in batch.schema]
    columns = [batch.column(name).to_pylist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
