"""What an exporter said of the try that failed: its result is a bare FAILURE, and the reason goes to its logger alone.

A line that came again within a minute is held back by the exporter's own filter, so a try may say nothing; then
nothing is told here either, rather than the words of an earlier one.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final, Self

__all__ = ["EXPORTERS", "LastWords", "hint_of"]

EXPORTERS: Final = "opentelemetry.exporter"
_NO_REASON: Final = "due to timeout, max retries or shutdown"
"""The last line of a try over HTTP; the line before it has the cause."""
_MOST: Final = 400
_HINTS: Final = (
    (r"BadStatusLine('\x00\x00", "gRPC is spoken there: --forward-protocol grpc"),
    ("Failed parsing HTTP/2", "HTTP is spoken there: --forward-protocol http/protobuf"),
    ("http1.x server", "HTTP is spoken there: --forward-protocol http/protobuf"),
)


class LastWords(logging.Handler):
    """Within it, keeps what exporters say in this thread.

    Attributes:
        text: the last line that has a reason, "" where there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        logging.getLogger(EXPORTERS).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger(EXPORTERS).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of this thread, unless it only says that the tries are over."""
        if record.thread == self._thread:
            said = record.getMessage()
            if not self.text or _NO_REASON not in said:
                self.text = said[:_MOST]


def hint_of(said: str) -> str:
    """Return what to change, "" where the words of a failure do not tell."""
    return next((hint for words, hint in _HINTS if words in said), "")
