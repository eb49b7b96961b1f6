"""What the log says of trouble: damage as the facts of a notice, a disk that refuses, a log that is closed."""

from __future__ import annotations

import errno
from pathlib import Path

from livespan.collector.log.scan import Damage
from livespan.collector.notices import Fact
from livespan.proto.errors import Closed, Unavailable

__all__ = ["closed", "damage_facts", "refused"]


def damage_facts(damage: Damage) -> dict[str, Fact]:
    """Return a damage as the facts of a notice."""
    return {
        "path": str(damage.path),
        "offset": damage.offset,
        "size_bytes": damage.size_bytes,
        "first_seq": damage.first_seq,
        "missing_records": damage.missing_records,
    }


def refused(what: str, path: Path, error: OSError) -> Unavailable:
    """Return what is said where the disk refuses."""
    hint = (
        "Free space on its disk; the log goes on by itself."
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "Look at the disk (dmesg) and at who owns the folder."
    )
    return Unavailable(f"{what} ({error.strerror})", subject=str(path), hint=hint)


def closed(folder: Path) -> Closed:
    """Return what is said to who comes after the end."""
    return Closed("the log is closed", subject=str(folder))
