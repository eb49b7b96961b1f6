"""Adoption: before a run is opened, what dead writers of this home left in the spool is sent and acknowledged.

The drain would send it too, but a run that resumes must not read its record before the last life's tail is in it.
What both send is one record. Dead is a writer whose lock nobody holds (spool/liveness.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing, batches, to_wire
from livespan.instrumentation.spool import WriterFolder, list_writers
from livespan.proto.errors import Damaged, NotFound
from livespan.proto.span import export_request

__all__ = ["adopt"]


def adopt(spool: Path, client: CollectorClient) -> int:
    """Send what dead writers left, and return how many records were acknowledged.

    Raises:
        Unavailable: the collector cannot be reached or has no room; nothing was lost, nothing may be resumed yet.
    """
    sent = 0
    for folder in list_writers(spool):
        try:
            if not folder.alive():
                sent += _adopt(folder, client)
        except NotFound:
            continue  # the drain was faster, and has cleared it away
        finally:
            folder.close()
    return sent


def _adopt(folder: WriterFolder, client: CollectorClient) -> int:
    sent = 0
    while True:
        try:
            for batch in batches(_entries(folder)):
                client.export(export_request([span.wire for span in batch]))
                folder.advance(batch[-1].entry.end)
                sent += len(batch)
            return sent
        except Damaged as damage:
            folder.advance(folder.skip_damaged(damage))


def _entries(folder: WriterFolder) -> Iterator[Outgoing]:
    for entry in folder.entries(folder.watermark()):
        wire = to_wire(entry, folder.writer)
        if wire is not None:
            yield Outgoing(entry, wire)
