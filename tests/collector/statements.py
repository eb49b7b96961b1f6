"""Users' statements, asked of an engine and read to their end, and the processes in which they run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from livespan.collector.query.engine import Answer, QueryEngine

_MODULE = b"livespan.collector.query.statement_process"
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


def processes_of(pid: int) -> list[int]:
    """Return the processes in which a process has statements run."""
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                parent = int(Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                if _MODULE in words and parent == pid:
                    found.append(int(entry.name))
    return found
