"""Adoption: before a run is opened, what dead writers of this home left in the spool is sent and acknowledged.

The drain would send it too, but a run that resumes must not read its record before the last life's tail is in it.
What both send is one record. Dead is a writer whose lock nobody holds (spool/liveness.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing, batches
from livespan.instrumentation.refused import Refused
from livespan.instrumentation.spool import WriterFolder, list_writers
from livespan.proto.errors import Damaged, InvalidInput, NotFound
from livespan.proto.span import export_request

__all__ = ["adopt"]


def adopt(spool: Path, client: CollectorClient) -> int:
    """Send what dead writers left, and return how many records were acknowledged.

    Raises:
        Unavailable: the collector cannot be reached or has no room; nothing was lost, nothing may be resumed yet.
    """
    sent = 0
    refused = Refused(spool)
    for folder in list_writers(spool):
        try:
            if not folder.alive():
                sent += _adopt(folder, client, refused)
        except NotFound:
            continue  # the drain was faster, and has cleared it away
        finally:
            folder.close()
    return sent


def _adopt(folder: WriterFolder, client: CollectorClient, refused: Refused) -> int:
    sent = 0
    while True:
        try:
            for batch in batches(_entries(folder, refused)):
                if not _taken(client, batch):
                    refused.send_apart(client, folder.writer, batch)
                folder.advance(batch[-1].end)
                sent += len(batch)
            return sent
        except Damaged as damage:
            folder.advance(folder.skip_damaged(damage))


def _taken(client: CollectorClient, batch: list[Outgoing]) -> bool:
    """Send a batch; return whether the collector took all of it."""
    try:
        return client.rejected_spans(client.export(export_request([span.wire for span in batch]))) == 0
    except InvalidInput:
        return False


def _entries(folder: WriterFolder, refused: Refused) -> Iterator[Outgoing]:
    for entry in folder.entries(folder.watermark()):
        outgoing = Outgoing.of(entry, folder.writer)
        if outgoing is None:
            refused.keep(folder.writer, entry.seq, entry.head + entry.body)
            continue
        yield outgoing
