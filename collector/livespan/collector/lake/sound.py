"""Whether a file of the lake is what was published: its digest against its seal, before anything of it is told.

DuckDB does not look at the checksums of Parquet's pages: a flipped bit in a page comes back as another value. A file
never changes once it is named, so it is read once, and again when its inode says that it was written to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from livespan.collector.lake.file_digest import file_digest
from livespan.collector.lake.table import LakeFile
from livespan.collector.notices import Notices
from livespan.proto.errors import Damaged

__all__ = ["SoundFiles"]

_HINT: Final = (
    "`livespan verify` says where. Put the file back from a copy of the home; runs that it has no rows of go on "
    "meanwhile."
)


class SoundFiles:
    """What was found so far. Thread-safe."""

    def __init__(self) -> None:
        self._found: dict[Path, tuple[tuple[int, int, int], bool]] = {}
        self._lock = threading.Lock()
        self._notices = Notices("lake")

    def check(self, files: Iterable[LakeFile], run_id: str | None = None) -> None:
        """Return if all of these files are sound, or, where a run is named, all that have rows of it.

        Raises:
            Damaged: one is not.
        """
        for file in files:
            if not self.is_sound(file) and (run_id is None or file.sealed is None or run_id in file.sealed.runs):
                raise Damaged("a file of the lake is not as it was published", subject=str(file.path), hint=_HINT)

    def damaged(self, files: Iterable[LakeFile]) -> list[Path]:
        """Return those of these files that were looked at and found damaged, and still are; it looks at no others."""
        with self._lock:
            suspects = [file for file in files if not self._found.get(file.path, ((0, 0, 0), True))[1]]
        return [file.path for file in suspects if not self.is_sound(file)]

    def keep(self, files: Iterable[LakeFile]) -> None:
        """Forget what was found of all but these files."""
        live = {file.path for file in files}
        with self._lock:
            for path in [path for path in self._found if path not in live]:
                del self._found[path]

    def is_sound(self, file: LakeFile) -> bool:
        """Return whether a file has the digest it was sealed with; True for one from before there were seals."""
        if file.sealed is None:
            return True
        try:
            status = os.stat(file.path)
            key = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._found.get(file.path)
            if known is not None and known[0] == key:
                return known[1]
            # Without the lock: gigabytes of large values must not hold up who opens a run.
            sound = file_digest(file.path) == file.sealed.digest
        except OSError:
            key, sound = (0, 0, 0), False
        with self._lock:
            told = self._found.get(file.path, (key, True))[1]
            self._found[file.path] = (key, sound)
        if told and not sound:
            self._notices.error("file of the lake damaged", path=str(file.path), offset=0, hint=_HINT)
        return sound
