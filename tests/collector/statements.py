"""Users' statements, asked of an engine and read to their end."""

from __future__ import annotations

import msgspec

from livespan.collector.query.engine import Answer, QueryEngine

Rows = list[list[object]]


def rows_of(engine: QueryEngine, sql: str) -> Rows:
    """Return all rows of a statement."""
    answer = engine.select(sql)
    try:
        rows = more_of(answer)
        while answer.is_open:
            rows += more_of(answer)
    finally:
        answer.close()
    return rows


def more_of(answer: Answer) -> Rows:
    """Return the rows of one reply."""
    return msgspec.json.decode(answer.more(), type=Rows)
