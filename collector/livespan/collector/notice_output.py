"""Where notices go, and in which form: stderr of `livespan serve`, or the home's collector.log, which never grows
beyond a bound.

    who tells ─▶ a bounded queue ─▶ one thread ─▶ stderr, or the file
    collector.log ── 1 MiB ──▶ collector.log.1 ──▶ collector.log.2 ──▶ gone

Nobody who tells waits: a pipe that is not read, or a disk that hangs, would else hold up the thread that writes the
log. What finds the queue full is dropped, and the next line says how many were.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from typing import Any, Final, cast

import msgspec

from livespan.collector.forward.last_words import EXPORTERS
from livespan.collector.notices import FACTS, LOGGER, Fact

__all__ = ["Apart", "HomeFile", "JsonLines", "NoticeForm", "TextLines", "send_notices"]

_FILE_BYTES: Final = 1024 * 1024
_OLD_FILES: Final = 2
_WAITING_LINES: Final = 10_000
_END_S: Final = 2.0
_OWN_LINES: Final = {"uvicorn.error": logging.ERROR}
"""Loggers that warn of each bad request, and the least that they may say."""


class NoticeForm(StrEnum):
    """How a notice is written."""

    TEXT = "text"
    JSON = "json"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, component, event, and the facts beside them; `error` has a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Fact] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "component": _component(record),
            "event": record.getMessage(),
        }
        line.update({name: value for name, value in _facts(record).items() if name not in line})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """A line for people: time, level, component, event, facts as name=value; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join([f" {name}={_shown(value)}" for name, value in _facts(record).items()])
        level = record.levelname.lower()
        text = f"{_time(record)} {level} {_component(record)}: {_printable(record.getMessage())}{facts}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class Apart(logging.Handler):
    """Hands lines to a thread that writes them; `close` waits a moment for what is still to be written."""

    def __init__(self, handler: logging.Handler, waiting: int = _WAITING_LINES) -> None:
        super().__init__()
        self._handler = handler
        self._queue: Queue[logging.LogRecord | None] = Queue(waiting)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="livespan-notices", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it."""
        try:
            self._queue.put_nowait(record)
        except Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for at most two seconds; also called at the process's end."""
        try:
            self._queue.put_nowait(None)
        except Full:
            return  # nobody reads: whoever ends must not wait for that
        self._thread.join(_END_S)
        super().close()

    def _run(self) -> None:
        while (record := self._queue.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            if dropped:
                facts: dict[str, Fact] = {"lines": dropped}
                lost = {"name": f"{LOGGER}.notices", "levelno": logging.WARNING, "levelname": "WARNING"}
                self._handler.handle(logging.makeLogRecord({**lost, "msg": "lines were dropped", FACTS: facts}))
            self._handler.handle(record)
        self._handler.close()


class HomeFile(RotatingFileHandler):
    """A file of the home (mode 0600), kept within a bound; what this process prints goes the same way."""

    def __init__(self, path: Path, max_bytes: int = _FILE_BYTES, old_files: int = _OLD_FILES) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=old_files, encoding="utf-8", delay=True)

    def doRollover(self) -> None:  # noqa: N802  # logging's name for it
        """Begin a new file, and take stdout and stderr along: they were opened on what is an old file now."""
        super().doRollover()
        stream: TextIOWrapper = self._open() if self.stream is None else self.stream
        self.stream = stream
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8")


def send_notices(form: NoticeForm, level: str, file: Path | None = None) -> None:
    """Send the notices of this process to stderr, or to a file; other libraries' warnings go with them.

    Args:
        form: of the lines.
        level: the least that is told of our own: debug, info, warning, error.
        file: a file of the home, kept within a bound.
    """
    handler: logging.Handler = HomeFile(file) if file is not None else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form is NoticeForm.JSON else TextLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(Apart(handler))
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
    for name, least in _OWN_LINES.items():
        logging.getLogger(name).setLevel(least)
    # Exporters say at each try what a notice of ours says once; that one has their reason.
    exporters = logging.getLogger(EXPORTERS)
    exporters.propagate = False
    exporters.addHandler(logging.NullHandler())


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _component(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{LOGGER}.")


def _facts(record: logging.LogRecord) -> dict[str, Fact]:
    facts: Any = getattr(record, FACTS, None)
    return cast("dict[str, Fact]", facts) if isinstance(facts, dict) else {}


def _shown(value: Fact) -> str:
    text = _printable(str(value))
    return f'"{text}"' if not text or " " in text or '"' in text else text


def _printable(text: str) -> str:
    """Return a text that stays on its line and leaves a terminal alone, whatever came in a run id or an error."""
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])
