"""What one read may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QueryLimits"]


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one read may cost.

    Attributes:
        memory_bytes: of DuckDB; a read that needs more is refused.
        timeout_s: from the start to the last row, the reader's own slowness included.
        max_rows: of an answer; what has more is refused there, never cut silently.
        threads: of DuckDB; the agent lives on the same machine.
    """

    memory_bytes: int = 512 * 1024 * 1024
    timeout_s: float = 30.0
    max_rows: int = 1_000_000
    threads: int = 2
