"""The spool as a process uses it: any thread, any nesting depth, either side of a fork. The format below it is
writer.py's.

    Spool ── life (one per process; a forked child starts a fresh one)
               ├── lock, depth
               ├── writer of depth 0    ordinary appends
               ├── writer of depth 1    appends out of a signal handler or __del__ that broke into one at depth 0
               ├── ...
               └── keeper thread        the next segment of each, made ahead

The lock is re-entrant and `depth` counts how often this thread is inside: whoever breaks into an append finds depth 1
and is given another writer (down to a bounded depth), so nobody ever touches a writer that is in the middle of a
record. A handler runs to its end before what it broke into goes on, so `depth` needs no more than being put back.

Fork. The child starts a new life, lazily: own folder, own lock, own keeper. It also puts private pages over the
segments that it inherited, because a handler may fork inside an append: the child's copy of that append then stores
into nothing, and is done again with a writer of the child's. The record may so be there twice, once from each side; it
is never lost to either.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar

from livespan.instrumentation.spool import liveness
from livespan.instrumentation.spool.folder import make_spool_folder
from livespan.instrumentation.spool.keeper import Keeper
from livespan.instrumentation.spool.layout import Entry, Position, WriterMeta, family_is_valid, record_bytes
from livespan.instrumentation.spool.quota import Quota, Refusal
from livespan.instrumentation.spool.wake import Bell
from livespan.instrumentation.spool.writer import FaultHook, SpoolWriter, no_fault
from livespan.proto.clock import wall_ns
from livespan.proto.errors import Closed, InvalidInput, LivespanError, SpoolFull, Unavailable

__all__ = ["Backlog", "Spool"]

_RETRY_S = 0.002
_MAX_DEPTH = 3
"""Making a writer takes milliseconds; without a bound, signals that come faster than that would nest without end."""

T = TypeVar("T")


class Backlog(NamedTuple):
    """What one writer of this process has not had acknowledged: its id, bytes, and the entries in order."""

    writer: str
    size_bytes: int
    entries: Iterator[Entry]


class _Life:
    """What belongs to one process. A fork leaves the old one to the frames that still hold it."""

    __slots__ = ("closed", "deferred", "depth", "keeper", "lock", "quota", "writers")

    def __init__(self, quota: Quota) -> None:
        self.lock: AbstractContextManager[bool] = threading.RLock()
        self.depth = 0
        self.writers: dict[int, SpoolWriter] = {}
        self.quota = quota
        self.deferred: list[int] = []
        self.closed = False
        self.keeper = Keeper(self)

    def guarded(self, work: Callable[[int], T]) -> T:
        """Do something to the writers that no append of any thread or handler breaks into; it is told its depth.

        Depth is set back to what it was, never counted down, and no bytecode at which a handler could raise lies
        between its setting and the `try`: so it cannot drift.
        """
        with self.lock:
            depth = self.depth
            self.depth = depth + 1
            try:
                return work(depth)
            finally:
                self.depth = depth


class Spool:
    """Appends records that outlive the process. Safe from threads, signal handlers, `__del__` and across forks.

    `close` seals what this process wrote; a process that dies without it loses nothing.

    Attributes:
        shared: whether another process may have writers of this family: it has forked, or is a fork itself.
    """

    def __init__(
        self,
        folder: Path,
        family: str,
        *,
        endpoint: str,
        max_bytes_process: int,
        max_bytes_home: int,
        budget_s: float = 0.05,
        faults: FaultHook = no_fault,
    ) -> None:
        """Open the spool of a home and make this process's first writer.

        Args:
            folder: the home's `spool/`.
            family: the first part of the writers' folder names: what the writers of one run have in common.
            endpoint: where this process's records are to go; the drain reads it from `meta.json`.
            max_bytes_process: what the segments of this process may take, spare ones included.
            max_bytes_home: the same for all processes of the home.
            budget_s: how long an append may wait for room.

        Raises:
            InvalidInput: the folder is not ours alone, or the family cannot stand in a folder's name.
            Unavailable: the folder cannot be written to.
            SpoolFull: there is no room for a first segment.
        """
        if not family_is_valid(family):
            raise InvalidInput("a family is 1 to 128 letters, digits, '_', '.' and '-'", subject=family)
        self.shared = False
        self._folder = folder
        self._family = family
        self._endpoint = endpoint
        self._max_bytes = (max_bytes_process, max_bytes_home)
        self._budget_s = budget_s
        self._faults = faults
        self._refusals: Counter[Refusal] = Counter()
        try:
            make_spool_folder(folder)
            self._bell = Bell(folder)
        except OSError as error:
            raise _unavailable(error, folder) from error
        self._life = self._new_life()
        _spools.append(weakref.ref(self))
        life = self._life
        life.guarded(lambda depth: self._writer(life, 0))

    @property
    def writer_id(self) -> str:
        """The id (16 hex digits) under which this process appends at depth 0."""
        life = self._life
        return life.guarded(lambda depth: self._writer(life, 0).writer_id)

    @property
    def lock_folder(self) -> str:
        """The folder in the spool whose lock this process keeps while it lives: that of its writer at depth 0."""
        life = self._life
        return life.guarded(lambda depth: self._writer(life, 0).path.name)

    @property
    def writer_ids(self) -> list[str]:
        """The ids of all writers of this process, nested ones included."""
        return [writer.writer_id for writer in list(self._life.writers.values())]

    @property
    def refusals(self) -> Mapping[Refusal, int]:
        """How many appends ended in `SpoolFull`, by reason."""
        return dict(self._refusals)

    def append(
        self, head: bytes, body: bytes = b"", *, kind: int, reserve: int = 0, consumes: int = 0
    ) -> tuple[str, int]:
        """Commit one record; return (writer id, its sequence number there, from 1).

        When it returns, the record is spooled: it outlives this process. In the ordinary case that took no syscall.

        Args:
            kind: 1 to 2**32-1; the spool does not look at it.
            reserve: payload bytes to keep for a later record, which passes the same number as `consumes`.
            consumes: the reserve that this record was promised; it is then let past the caps, should it be larger.

        Raises:
            SpoolFull: no room within the budget; it is counted by reason.
            Unavailable: a writer could not be made.
            Closed: the spool was closed.
        """
        deadline_s = 0.0
        while True:
            life = self._life
            with life.lock:
                depth = life.depth
                life.depth = depth + 1
                try:
                    writer = life.writers.get(depth) or self._writer(life, depth)
                    if depth == 0:
                        if life.deferred:
                            _settle(life.deferred, writer)
                        seq = writer.append(head, body, kind, reserve, consumes)
                    else:
                        seq = writer.append(head, body, kind, 0, consumes)
                        if seq and (reserve or consumes):
                            _defer(life.deferred, reserve, consumes)
                finally:
                    life.depth = depth
            if life is not self._life:
                continue  # A handler forked meanwhile, and this is the child: what was done was done to the parent's.
            if seq:
                break
            now_s = time.monotonic()
            if not deadline_s:
                deadline_s = now_s + self._budget_s
            elif now_s >= deadline_s:
                raise self._refuse(life, writer.refusal)
            time.sleep(_RETRY_S)
        if self._bell.asleep[0]:
            self._bell.ring()
        return writer.writer_id, seq

    def promise(self, reserve: int) -> tuple[str, int]:
        """Keep `reserve` payload bytes for a record whose beginning goes another way than through the spool; its end
        passes the same as `consumes`. Return the beginning's (writer id, sequence number).

        Raises:
            SpoolFull: as `append`.
        """
        deadline_s = 0.0
        while True:
            life = self._life

            def promised(depth: int, life: _Life = life) -> tuple[str, int]:
                if depth == 0:
                    keeper = self._writer(life, 0)
                    if life.deferred:
                        _settle(life.deferred, keeper)
                    if not keeper.promise(reserve):
                        return "", 0
                else:
                    keeper = self._writer(life, depth)
                    _defer(life.deferred, reserve, 0)
                return keeper.writer_id, keeper.skip_seq()

            identity = life.guarded(promised)
            if identity[1] and life is self._life:
                return identity
            now_s = time.monotonic()
            if not deadline_s:
                deadline_s = now_s + self._budget_s
            if now_s >= deadline_s:
                raise self._refuse(life, self._writer(life, 0).refusal)
            time.sleep(_RETRY_S)

    def give_back(self, reserve: int) -> None:
        """Take back a reserve whose record will never be written."""
        self._life.deferred.append(-record_bytes(reserve))

    def unacknowledged(self) -> list[Backlog]:
        """Return what this process appended and the drain has not had acknowledged yet, one backlog per writer.

        The entries may be read while other threads append; they end where the stream stands now.

        Raises:
            Damaged: while iterating, if somebody changed a segment under us.
        """
        life = self._life
        return life.guarded(lambda depth: [Backlog(w.writer_id, *w.unacknowledged()) for w in life.writers.values()])

    def acknowledge(self, writer_id: str, position: Position) -> None:
        """Note that what one of this process's writers wrote below `position` is acknowledged: it went another way
        than by the drain."""
        for writer in list(self._life.writers.values()):
            if writer.writer_id == writer_id:
                writer.acknowledge(position)

    def close(self) -> None:
        """Seal all writers of this process and let go of their locks. Later appends raise `Closed`."""
        life = self._life

        def seal(depth: int) -> None:
            life.closed = True
            writers, life.writers = life.writers, {}
            # Closed from within an append (a handler that exits): what is under way must not be sealed off.
            if depth == 0:
                for writer in writers.values():
                    writer.close()

        life.guarded(seal)
        life.keeper.nudge()
        self._bell.ring()

    def _new_life(self) -> _Life:
        process, home = self._max_bytes
        return _Life(Quota(self._folder, max_process_bytes=process, max_home_bytes=home))

    def _writer(self, life: _Life, depth: int) -> SpoolWriter:
        """Return the writer of a depth, made if it is the first to be asked for. Under the lock."""
        if life.closed:
            raise Closed("the spool was closed", subject=str(self._folder))
        writer = life.writers.get(depth)
        if writer is None:
            if depth > _MAX_DEPTH:
                raise self._refuse(life, Refusal.NESTED)
            meta = WriterMeta(self._endpoint, os.getpid(), wall_ns())
            try:
                writer = SpoolWriter(
                    self._folder,
                    self._family,
                    meta=meta,
                    quota=life.quota,
                    nudge=life.keeper.nudge,
                    faults=self._faults,
                )
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise self._refuse(life, Refusal.DISK_FULL) from error
                raise _unavailable(error, self._folder) from error
            refusal = writer.begin()
            if refusal is not None:
                raise self._refuse(life, refusal)
            life.writers[depth] = writer
            life.keeper.start()
            self._bell.ring()
        return writer

    def _refuse(self, life: _Life, reason: Refusal) -> LivespanError:
        with life.lock:
            self._refusals[reason] += 1
        return SpoolFull(
            f"no room in the spool within {self._budget_s * 1000:.0f} ms ({self._described(reason)})",
            subject=str(self._folder),
            hint="See that the collector is reachable (`livespan doctor`), free disk space, "
            "or raise LIVESPAN_SPOOL_MAX_BYTES.",
            reason=reason.value,
        )

    def _described(self, reason: Refusal) -> str:
        """Return the reason with the cap that was reached, in bytes, where it is one."""
        of_process, of_home = self._max_bytes
        match reason:
            case Refusal.PROCESS_CAP:
                return f"{reason.value}: {of_process} bytes"
            case Refusal.HOME_CAP:
                return f"{reason.value}: {of_home} bytes"
            case _:
                return reason.value

    def start_over(self) -> None:
        """In a forked child: leave what is the parent's. Called by the hook below alone."""
        old, self._life = self._life, self._new_life()
        self._refusals = Counter()
        for writer in list(old.writers.values()):
            writer.abandon()


def _defer(deferred: list[int], reserve: int, consumes: int) -> None:
    """Note a promise that a nested append gave or used up; promises are kept by the writer of depth 0."""
    given = record_bytes(reserve) if reserve else 0
    used = record_bytes(consumes) if consumes else 0
    deferred.append(given - used)


def _settle(deferred: list[int], writer: SpoolWriter) -> None:
    while deferred:
        writer.change_promise(deferred.pop())


def _unavailable(error: OSError, folder: Path) -> LivespanError:
    return Unavailable(
        f"the spool cannot be written to ({error.strerror})",
        subject=str(error.filename or folder),
        hint="Set LIVESPAN_HOME to a folder on a writable disk with free space.",
    )


_spools: list[weakref.ref[Spool]] = []


def _start_over_in_child() -> None:
    liveness.forget_inherited()
    for reference in _spools:
        spool = reference()
        if spool is not None:
            spool.start_over()


def _share_with_child() -> None:
    for reference in _spools:
        spool = reference()
        if spool is not None:
            spool.shared = True


os.register_at_fork(before=_share_with_child, after_in_child=_start_over_in_child)
