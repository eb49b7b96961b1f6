"""What a collector refuses for good: kept where a person finds it, so that it blocks nobody and is not lost.

spool/refused/WRITER-SEQ     a span as a field of OTLP's ScopeSpans; where an entry could not be read, the entry
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing
from livespan.proto.errors import InvalidInput
from livespan.proto.span import export_request

__all__ = ["Refused"]


class Refused:
    """The folder of one spool's refused records; made when there is one.

    Args:
        spool: the home's `spool/`.
    """

    def __init__(self, spool: Path) -> None:
        self._folder = spool / "refused"

    def send_apart(self, client: CollectorClient, writer: str, batch: Iterable[Outgoing]) -> int:
        """Send spans one by one and keep those that are refused; return how many.

        A second copy of the others is the same record.

        Raises:
            Unavailable: the collector cannot be reached; to be done again as a whole.
        """
        kept = 0
        for span in batch:
            try:
                if client.rejected_spans(client.export(export_request([span.wire]))) == 0:
                    continue
            except InvalidInput:
                pass
            self.keep(writer, span.seq, b"".join(span.wire.parts))
            kept += 1
        return kept

    def keep(self, writer: str, seq: int, content: bytes) -> None:
        """Put one record there; what lies there already is the same one."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self._folder / f"{writer}-{seq}", flags, 0o600), "wb") as file:
            file.write(content)
