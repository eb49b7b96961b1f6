"""The spare segments: written ahead by a thread, taken by the appender, given back when they are
freed.

Making a segment means writing it over whole, tens of milliseconds that no append should wait for.
So while the log is open there is always a spare, unless the disk is full or appends outrun it; then
the appender makes one itself and meets the disk's error. Spares are bounded: what is given back
beyond `keep` is removed from the disk.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from livespan.collector.disk import Disk
from livespan.collector.log.protocol import Faults
from livespan.collector.log.segment import LogProtections, Segment, create_segment

__all__ = ["SegmentMaker", "Spares"]


@dataclass(frozen=True, slots=True)
class SegmentMaker:
    """Everything that a new segment needs, but its id and size."""

    disk: Disk
    folder: Path
    uuid: UUID
    protections: LogProtections
    faults: Faults

    def make(self, segment_id: int, size_bytes: int) -> Segment:
        """Return a new durable segment. Raises OSError."""
        segment = create_segment(self.disk, self.folder, segment_id, size_bytes, self.uuid, self.protections)
        self.faults("log.segment_created")
        return segment


class Spares:
    """A pool of segments that hold no frames. Thread-safe. `close` ends its thread and closes the
    spares' files.

    Attributes:
        failures: how often the thread could not make a segment; the next append that needs one
            meets the error itself.
    """

    def __init__(
        self,
        maker: SegmentMaker,
        spares: Iterable[Segment],
        *,
        segment_bytes: int,
        next_id: int,
        ahead: int,
        keep: int,
    ) -> None:
        self.failures = 0
        self._maker = maker
        self._segment_bytes = segment_bytes
        self._next_id = next_id
        self._ahead = ahead
        self._keep = keep
        self._changed = threading.Condition()
        self._spares = deque(spares)
        self._making = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="livespan-log-spares", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._spares)

    def take(self, size_bytes: int) -> Segment:
        """Return a segment of `size_bytes`, for the caller to use or to give back. Raises OSError:
        none can be made.
        """
        if size_bytes == self._segment_bytes:
            with self._changed:
                # A segment that is half made is here sooner than one that is begun now, on the same
                # disk.
                while self._making and not self._spares:
                    self._changed.wait()
                # Wakes the thread also after it has met a full disk, which may have room again.
                self._changed.notify_all()
                if self._spares:
                    return self._spares.popleft()
        return self._maker.make(self._new_id(), size_bytes)

    def give(self, segment: Segment) -> None:
        """Take a segment that holds no frame that counts; of odd size, or beyond the bound, it is
        removed. Raises OSError.
        """
        with self._changed:
            wanted = segment.size_bytes == self._segment_bytes and len(self._spares) < self._keep and not self._closed
            if wanted:
                self._spares.append(segment)
                self._changed.notify_all()
                return
        # The descriptor is closed whatever becomes of the name: the caller has given it away.
        os.close(segment.fd)
        self._maker.disk.remove(segment.path)

    def close(self) -> None:
        """End the thread (it finishes the segment that it is making) and close the spares' files;
        they stay on the disk.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            for segment in self._spares:
                os.close(segment.fd)
            self._spares.clear()

    def _new_id(self) -> int:
        with self._changed:
            self._next_id += 1
            return self._next_id - 1

    def _run(self) -> None:
        while self._wait_for_need():
            try:
                segment = self._maker.make(self._new_id(), self._segment_bytes)
            except OSError:
                segment = None
            with self._changed:
                self._making = False
                if segment is not None:
                    self._spares.append(segment)
                else:
                    self.failures += 1
                self._changed.notify_all()
                if segment is None and not self._closed:
                    # Trying again at once would fail again; the next take or give says that
                    # something has changed.
                    self._changed.wait()

    def _wait_for_need(self) -> bool:
        with self._changed:
            while not self._closed and len(self._spares) >= self._ahead:
                self._changed.wait()
            self._making = not self._closed
            return self._making
