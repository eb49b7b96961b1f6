"""Whether a holder in another pid namespace of this machine, as in another container of the pod, is dead.

It cannot be looked up by its pid. But its process keeps a record lock in the spool of the home that it shares with
this collector, and the kernel drops that lock at the process's death. Whatever is not certain is no death: the lease
then ends when it is not renewed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from livespan.proto.process import ProcessId, this_process
from livespan.proto.record_lock import is_locked

__all__ = ["DistantHolders"]

_LOCK: Final = "lock"
_ID: Final = "id"


class DistantHolders:
    """Answers for the holders that share a home's spool.

    Args:
        spool: the home's.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._boot_id = this_process().boot_id

    def is_dead(self, holder: ProcessId, spool_id: str, lock: str) -> bool:
        """Return whether a holder is dead for certain.

        Args:
            spool_id: which spool it said to be its own.
            lock: its folder there; "" = it has told none.
        """
        if not lock or lock != os.path.basename(lock) or lock in {os.curdir, os.pardir}:
            return False
        if not self._boot_id or holder.boot_id != self._boot_id:
            return False  # locks are seen within one kernel
        try:
            ours = (self._spool / _ID).read_text(encoding="ascii").strip()
            return ours == spool_id and not is_locked(self._spool / lock / _LOCK)
        except (OSError, UnicodeDecodeError):
            return False
