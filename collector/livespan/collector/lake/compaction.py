"""Compaction: small published files are merged into larger ones, in the background, so that a read opens few files
however long a home has lived; and what needs no windows to be read is told apart (plain_runs.py).

    which (tiers.py) ─▶ a process merges them ─▶ files synced ─▶ one commit: remove, add ─▶ readers switch ─▶ views.sql
                        (merging.py)       file_written                     committed              switched
    an hour later: the merged files' sources are removed from the disk                            swept

No row changes, and no watermark: a crash at any of these steps leaves the table as it was before or as it is after.
What is written without a commit is removed at the next start. The merge itself holds nothing up; only its commit takes
a publication's turn.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from livespan.collector.disk import Disk
from livespan.collector.lake.file_names import Role, units
from livespan.collector.lake.merging import Merge, Merged
from livespan.collector.lake.parquet import sync_new_file
from livespan.collector.lake.table import LakeFile, Table
from livespan.collector.lake.tiers import RowLimit, Sized, next_merge
from livespan.collector.log.protocol import Faults
from livespan.collector.notices import Notices
from livespan.proto.errors import Unavailable

__all__ = ["Compaction", "CompactionCounts"]

_PAUSE_S: Final = 60.0
"""After a failure, and between looks where nothing is published."""
_LONGEST_PAUSE_S: Final = 3600.0
_LOOK_S: Final = 0.2
_SPILL: Final = ".spill"


@dataclass(slots=True)
class CompactionCounts:
    """What was done, for status and tests."""

    merges: int = 0
    merged_files: int = 0
    merged_rows: int = 0
    failures: int = 0


class Compaction:
    """Merges the files of the lake's tables. `start`, then `wake` after each publication; `close` ends it at once.

    Args:
        folder: the lake's.
        tables: those to be looked after.
        replace: commits merged files in the place of their sources, and returns False where they are live no more.
        sweep: removes from the disk what was merged long enough ago.
        disk: for the merged files.
        faults: told of each step; a seam for tests.
    """

    def __init__(
        self,
        folder: Path,
        tables: Sequence[Table],
        *,
        replace: Callable[[Table, Sequence[LakeFile], Sequence[LakeFile]], bool],
        sweep: Callable[[], None],
        disk: Disk,
        faults: Faults,
    ) -> None:
        self.counts = CompactionCounts()
        self._spill = folder / _SPILL
        self._tables = tables
        self._replace = replace
        self._sweep = sweep
        self._disk = disk
        self._faults = faults
        self._sizes: dict[Path, int] = {}
        self._left_out: set[Path] = set()
        self._limit = RowLimit()
        self._closing = False
        self._woken = threading.Event()
        self._notices = Notices("compaction")
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it looks at once what former lives left to be merged."""
        self._woken.set()
        self._thread = threading.Thread(target=self._run, name="livespan-compaction", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have it look whether there is something to merge."""
        self._woken.set()

    def close(self) -> None:
        """End it, a merge under way too: that one was never."""
        self._closing = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def step(self) -> bool:
        """Merge once, and sweep; return whether anything was merged.

        Raises:
            OSError, Unavailable: the disk, a table or the merge refused; the table is as it was, or as it is to be.
        """
        done = False
        for table in self._tables:
            found = units(table.files)
            chosen = next_merge([self._sized(unit) for unit in found], self._limit.rows)
            if chosen is not None:
                done = self._merge(table, [file for each in chosen for file in found[each]]) or done
        self._sweep()
        self._faults("compact.swept")
        return done

    def _sized(self, unit: Sequence[LakeFile]) -> Sized:
        size = sum(self._size(file) for file in unit)
        left_out = any(file.rows is None or file.path in self._left_out for file in unit)
        return Sized(sum(file.rows or 0 for file in unit), size, left_out)

    def _size(self, file: LakeFile) -> int:
        size = self._sizes.get(file.path)
        if size is None:
            try:
                size = self._sizes[file.path] = file.path.stat().st_size
            except OSError:  # it is missing, which `livespan verify` tells
                self._left_out.add(file.path)
                return 0
        return size

    def _merge(self, table: Table, sources: Sequence[LakeFile]) -> bool:
        targets = table.paths_behind(sources[-1])
        try:
            merged = self._written(table, sources, targets)
        finally:
            shutil.rmtree(self._spill, ignore_errors=True)
        rows = sum(file.rows or 0 for file in sources)
        if merged is not None and not merged.failure and sum(file.rows for file in merged.files) != rows:
            become = sum(file.rows for file in merged.files)
            merged = Merged(failure=f"{rows} rows became {become}", damaged=str(sources[0].path))
        if merged is None or merged.failure:
            self._drop(targets.values())
            if merged is not None:
                self._fail(merged)
            return False
        files = [LakeFile(Path(file.path), file.first_run, file.last_run, file.rows) for file in merged.files]
        for file in files:
            sync_new_file(file.path, self._disk)
        self._faults("compact.file_written")
        # Where this raises nobody knows whether the commit counts, so the files stay: if not, a start removes them.
        if not self._replace(table, sources, files):
            self._drop(targets.values())
            return False
        self._faults("compact.switched")
        for source in sources:
            self._sizes.pop(source.path, None)
        self.counts.merges += 1
        self.counts.merged_files += len(sources)
        self.counts.merged_rows += rows
        return True

    def _written(self, table: Table, sources: Sequence[LakeFile], targets: Mapping[Role, Path]) -> Merged | None:
        """Have a process write the merged files, and return what it says; None where the end came before."""
        paths = [str(file.path) for file in sources]
        digests = [file.sealed.digest if file.sealed is not None else None for file in sources]
        wanted = {role: str(target) for role, target in targets.items()}
        asked = Merge(table.folder.name, paths, digests, wanted, str(self._spill))
        child = subprocess.Popen(
            [sys.executable, "-m", "livespan.collector.lake.merging"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError):  # it ended by itself; told below
                child.stdin.write(msgspec.json.encode(asked) + b"\n")
                child.stdin.flush()
            while child.poll() is None:  # what it says fits into the pipe
                if self._closing:
                    child.kill()
                    return None
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK_S)
            lines = child.stdout.read().splitlines()
        if lines and lines[-1].startswith(b"{"):
            return msgspec.json.decode(lines[-1], type=Merged)
        reading = int(lines[-1]) if lines else len(sources)
        damaged = str(sources[reading].path) if reading < len(sources) else ""
        return Merged(failure=f"its reader ended with exit status {child.returncode}", damaged=damaged)

    def _drop(self, targets: Iterable[Path]) -> None:
        for target in targets:
            with suppress(FileNotFoundError):
                self._disk.remove(target)

    def _fail(self, merged: Merged) -> None:
        self.counts.failures += 1
        if not merged.damaged:
            self._limit.halve()
            raise Unavailable(
                f"files could not be merged ({merged.failure})",
                subject=str(self._spill.parent),
                hint="Nothing is lost: reads open more files meanwhile. It is tried again by itself.",
            )
        self._left_out.add(Path(merged.damaged))
        self._notices.error("file left out of compaction", path=merged.damaged, error=merged.failure)

    def _run(self) -> None:
        pause_s, told = _PAUSE_S, ""
        while not self._closing:
            self._woken.wait(pause_s)
            self._woken.clear()
            try:
                while not self._closing and self.step():
                    pass
                pause_s, told = _PAUSE_S, ""
                self._limit.relax()
            except Exception as error:  # noqa: BLE001  # the thread's border: told, counted, tried again
                if str(error) != told:
                    self._notices.error("compaction failed", error=str(error))
                told = str(error)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                self._rest(pause_s)

    def _rest(self, pause_s: float) -> None:
        """Let time pass, whatever is published meanwhile."""
        until_s = time.monotonic() + pause_s
        while not self._closing and time.monotonic() < until_s:
            self._woken.wait(until_s - time.monotonic())
            self._woken.clear()
