"""The spool: what an agent recorded, kept in mapped files that outlive its process until the collector has
acknowledged it.

Writers append (`Spool`); the drain and adoption read (`list_writers`), sleep (`WakeSource`) and clear away. Entries
are opaque here: a head and a body of bytes. FORMAT.md says what the files hold.
"""

from __future__ import annotations

from livespan.instrumentation.spool.folder import check_folder, make_spool_folder
from livespan.instrumentation.spool.layout import START, Entry, Position, WriterMeta
from livespan.instrumentation.spool.quota import Refusal
from livespan.instrumentation.spool.reader import WriterFolder, list_writers, remove_unborn
from livespan.instrumentation.spool.segment_reader import SegmentReader
from livespan.instrumentation.spool.spool import Backlog, Spool
from livespan.instrumentation.spool.wake import WakeSource

__all__ = [
    "START",
    "Backlog",
    "Entry",
    "Position",
    "Refusal",
    "SegmentReader",
    "Spool",
    "WakeSource",
    "WriterFolder",
    "WriterMeta",
    "check_folder",
    "list_writers",
    "make_spool_folder",
    "remove_unborn",
]
