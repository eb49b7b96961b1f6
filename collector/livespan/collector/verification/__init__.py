"""Reading the collector's part of a home for damage: the log, both tables of the lake, and how they fit together.

    log.py      frames: checksums, sequence               fit.py    watermarks against the log, views.sql
    tables.py   Delta log, files                          rows.py   digests, and content that nodes name
    probe.py    every page, in a process of its own

It reads only, and needs no lock. Beside a collector that runs, files come and go: what looks wrong is looked at
again, and counts only if it stays so.
"""

from __future__ import annotations

from livespan.collector.verification.fit import verify

__all__ = ["verify"]
