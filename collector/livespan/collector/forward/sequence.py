"""How far a backend has been served: the home's forward.json, so that a killed collector's successor goes on there.

    {"target": "...", "log": "uuid of the log", "seq": N,     everything up to `log_seq` N was sent, or given up
     "sum": "XXH3-64 of the three, in hex"}

It is replaced, never written in place, and not synced: where it is old or damaged, spans are sent twice, and none is
missed.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from xxhash import xxh3_64_hexdigest

from livespan.collector.notices import Notices

__all__ = ["ServedUpTo"]


class _Stand(msgspec.Struct, frozen=True):
    target: str
    log: str
    seq: int
    sum: str = ""  # files from before there were sums have none


class ServedUpTo:
    """The file of one backend and one log.

    Args:
        path: where it lies.
        target, log: names of backend and log; a file of others says nothing of these.
    """

    def __init__(self, path: Path, target: str, log: str) -> None:
        self._path = path
        self._target = target
        self._log = log
        self._written = -1

    def read(self) -> int | None:
        """Return the `log_seq` up to which the backend was served, None where it never was."""
        try:
            stand = msgspec.json.decode(self._path.read_bytes(), type=_Stand)
        except OSError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            stand = None
        if stand is None or stand.sum not in ("", _sum(stand.target, stand.log, stand.seq)):
            Notices("forward").error(
                "cursor damaged", path=str(self._path), offset=0, hint="What the log still holds is forwarded again."
            )
            return 0
        return stand.seq if (stand.target, stand.log) == (self._target, self._log) else None

    def write(self, seq: int) -> None:
        """Note that everything up to `seq` is done.

        Raises:
            OSError: it cannot be written; spans are sent twice then.
        """
        if seq == self._written:
            return
        stand = _Stand(self._target, self._log, seq, _sum(self._target, self._log, seq))
        draft = self._path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(draft, flags, 0o600)
        try:
            os.write(
                descriptor,
                msgspec.json.encode(stand),
            )
        finally:
            os.close(descriptor)
        draft.replace(self._path)
        self._written = seq


def _sum(target: str, log: str, seq: int) -> str:
    return xxh3_64_hexdigest(f"{target}\n{log}\n{seq}".encode())
