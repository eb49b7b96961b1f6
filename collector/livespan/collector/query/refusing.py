"""DuckDB's errors as ours: which of them are the statement's, which a limit's, which the lake's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import duckdb

from livespan.collector.arrow import ArrowError
from livespan.collector.query.guard import VIEWS_HINT
from livespan.collector.query.limits import QueryLimits
from livespan.proto.errors import Damaged, InvalidInput, Unavailable

__all__ = ["duckdb_errors", "errors_of_ours", "too_long", "too_many_rows", "too_much_memory"]

_SCAN_FAILED: Final = "reading the stream registered as"
"""How DuckDB begins what it says of an error in a scan of ours; the kind of error is lost there."""


@contextmanager
def duckdb_errors(limits: QueryLimits) -> Generator[None]:
    """Turn what DuckDB and Arrow raise in the block into ours.

    Raises:
        InvalidInput: the statement cannot be run.
        Unavailable: it needs more memory than it may have, or was interrupted for the time it took.
        Damaged: a file of the lake cannot be read.
    """
    try:
        yield
    except duckdb.InterruptException as error:
        raise too_long(limits) from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise too_much_memory(limits) from error
    except duckdb.PermissionException as error:
        raise InvalidInput(
            _first_line(error), subject="sql", hint=f"SQL reads what is recorded alone. {VIEWS_HINT}"
        ) from error
    except (duckdb.IOException, OSError) as error:
        raise _damaged(error) from error
    except (duckdb.Error, ArrowError, OverflowError, ValueError) as error:
        if _SCAN_FAILED in str(error):
            raise _damaged(error) from error
        raise InvalidInput(str(error).strip(), subject="sql", hint=VIEWS_HINT) from error


@contextmanager
def errors_of_ours(limits: QueryLimits) -> Generator[None]:
    """The same for a statement of our own, which is right: where DuckDB refuses it, a file of the lake is not.

    Raises:
        Unavailable, Damaged: as above.
    """
    try:
        with duckdb_errors(limits):
            yield
    except InvalidInput as error:
        raise _damaged(error.__cause__ or error) from error


def too_long(limits: QueryLimits) -> Unavailable:
    """Return what is said of a read that exceeds its time."""
    return Unavailable(
        f"the query took longer than {limits.timeout_s:g} s",
        subject="sql",
        hint="Narrow it by run_id or started_at; `livespan serve --sql-timeout-s` sets how long it may take.",
    )


def too_much_memory(limits: QueryLimits) -> Unavailable:
    """Return what is said of a read that exceeds its memory."""
    return Unavailable(
        f"the query needs more memory than its {limits.memory_bytes // 1024**2} MiB",
        subject="sql",
        hint="Narrow it by run_id, or aggregate less; `livespan serve --sql-memory-mb` sets how much.",
    )


def too_many_rows(limits: QueryLimits) -> InvalidInput:
    """Return what is said of an answer that has more rows than may be had."""
    return InvalidInput(
        f"the answer has more than {limits.max_rows:,} rows",
        subject="sql",
        hint="Add a LIMIT, or aggregate; `livespan serve --sql-rows` sets how many may be had.",
    )


def _damaged(error: BaseException) -> Damaged:
    return Damaged(
        f"a file of the lake cannot be read: {_first_line(error)}",
        subject="lake",
        hint="Run `livespan verify`; restore the file from a copy.",
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
