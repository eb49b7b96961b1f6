"""The collector's fsynced log: what was appended here is acknowledged, and survives the machine.

The spec is FORMAT.md.

    protocol.py    what a log is to everyone else   frame.py      the bytes of one frame
    file_log.py    the log in files                 scan.py       finding frames, damage, the end
    committer.py   the one thread that appends      segment.py    one file and its uses
    reader.py      reading while the log goes on    spares.py     segments made ahead
    opening.py     what a crash left behind         placement.py  where a batch goes
"""

from __future__ import annotations

from livespan.collector.log.committer import (
    Admit,
    Committer,
    Deliver,
    Done,
    Outcome,
    call_each,
    deliver_in,
)
from livespan.collector.log.file_log import FileLog, LogStats, open_log
from livespan.collector.log.opening import OpenReport
from livespan.collector.log.protocol import (
    Appended,
    Entry,
    Faults,
    Frame,
    FrameRef,
    Log,
    LogReader,
    no_faults,
)
from livespan.collector.log.scan import Damage
from livespan.collector.log.segment import LogProtections
from livespan.collector.log.trouble import damage_facts

__all__ = [
    "Admit",
    "Appended",
    "Committer",
    "Damage",
    "Deliver",
    "Done",
    "Entry",
    "Faults",
    "FileLog",
    "Frame",
    "FrameRef",
    "Log",
    "LogProtections",
    "LogReader",
    "LogStats",
    "OpenReport",
    "Outcome",
    "call_each",
    "damage_facts",
    "deliver_in",
    "no_faults",
    "open_log",
]
