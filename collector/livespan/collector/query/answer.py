"""The answer to one statement of a user's, from a process of its own.

select ─▶ more: process, Ask, snapshot of what is wanted ─▶ more ─▶ ... ─▶ last rows: the process is put back
                   └─ cancel, expire, close before the end, too many rows: it is killed
                   └─ it dies by itself: told, and nothing else was harmed
"""

from __future__ import annotations

import threading
import time
from typing import Final

from livespan.collector.lake.rows import node_table
from livespan.collector.query.exchange import Frame, More, Refusal, Rows, Wanted
from livespan.collector.query.limits import QueryLimits
from livespan.collector.query.refusing import too_long, too_many_rows
from livespan.collector.query.snapshots import Lake
from livespan.collector.query.statement_processes import StatementProcess, StatementProcesses
from livespan.proto.errors import Closed, LivespanError, Unavailable

__all__ = ["Answer"]

_END: Final = b"[]"


class Answer:
    """The rows of one statement, which starts with the first `more`. One thread reads; any may `cancel` or `expire`.

    Attributes:
        columns: their names, told apart; known after the first `more`.
    """

    def __init__(self, lake: Lake, processes: StatementProcesses, limits: QueryLimits, sql: str) -> None:
        self.columns: list[str] = []
        self._lake = lake
        self._processes = processes
        self._limits = limits
        self._sql = sql
        self._lock = threading.Lock()
        self._process: StatementProcess | None = None
        self._until_s = 0.0
        self._rows = 0
        self._is_started = False
        self._is_cancelled = False

    @property
    def left_s(self) -> float:
        """The seconds that it may still take, once it has started."""
        return self._until_s - time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether a process is at work for it, or holds rows that were not had yet."""
        return self._process is not None

    def more(self) -> bytes:
        """Return further rows as one JSON list (values.py), about 1 MiB of them; `[]` at the end.

        Raises:
            InvalidInput: DuckDB refuses the statement, or it has too many rows.
            Unavailable: it exceeds a limit of time or memory, or its process died.
            Damaged: a file of the lake cannot be read.
            Closed: it was cancelled.
        """
        if self._is_cancelled:
            raise _cancelled()
        process = self._process
        try:
            if not self._is_started:
                self._is_started = True
                frame = self._start()
            elif process is None:
                return _END
            else:
                process.send(More())
                frame = process.receive(self.left_s)
        except (EOFError, OSError, ValueError) as error:
            raise self._lost() from error
        match frame.message:
            case Rows(columns, count, last):
                self.columns = columns
                self._rows += count
                if self._rows > self._limits.max_rows:
                    self.close()
                    raise too_many_rows(self._limits)
                if last:
                    self._put_back()
                return frame.data
            case Refusal() as refusal:
                self._put_back()
                raise refusal.error()
            case _:
                raise self._lost()

    def cancel(self) -> None:
        """Make what runs end at once, and a later `more`, with Closed."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.kill()

    def expire(self) -> None:
        """End what runs, since its time is over: a reader that is slow must not keep a process's memory."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End what is not at its end; may be called twice, and waits for a process to be gone."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            self._processes.drop(process)

    def _start(self) -> Frame:
        """Have a process run the statement, and return what comes of it first."""
        process = self._processes.take()
        with self._lock:
            if self._is_cancelled:
                self._processes.put_back(process)
                raise _cancelled()
            self._process = process
        self._until_s = time.monotonic() + self._limits.timeout_s
        process.ask(self._sql)
        frame = process.receive(self.left_s)
        if not isinstance(frame.message, Wanted):
            return frame
        try:
            snapshot = self._lake.snapshot(frame.message.runs, content=frame.message.content)
            process.run(snapshot, node_table(snapshot.hot))
        except LivespanError:
            self.close()
            raise
        return process.receive(self.left_s)

    def _put_back(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            self._processes.put_back(process)

    def _lost(self) -> LivespanError:
        """End the process, which answers no more, and return why."""
        is_late = self.left_s <= 0
        with self._lock:
            process, self._process = self._process, None
        ended = self._processes.drop(process) if process is not None else ""
        if self._is_cancelled:
            return _cancelled()
        if is_late:
            return too_long(self._limits)
        return Unavailable(
            f"the query ended the process that ran it ({ended}): it needed more than it may have, or a file of the "
            "lake is damaged; nothing else was harmed",
            subject="sql",
            hint="Narrow it by run_id, or select fewer columns; `livespan verify` tells whether the files are sound.",
        )


def _cancelled() -> Closed:
    return Closed("the query was cancelled", subject="sql")
