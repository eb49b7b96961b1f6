"""The drain: the batch exporter of a home. It sends what the spool holds, notes what is acknowledged, and clears it
away.

    wait for the bell ─▶ per writer: entries above its watermark ─▶ requests (≤ 3 MB) ─▶ Export, two in flight
          ▲                                                                                   │ acknowledged, in order
          └────────────────── remove finished segments ◀── advance the watermark ◀────────────┘

It runs in a process of its own (drain_process.py), so that an agent's death does not end it and its work does not
take the agent's GIL. It may be killed at any instant: the watermark only ever says what was acknowledged, and what is
sent twice is one record.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing, batches
from livespan.instrumentation.refused import Refused
from livespan.instrumentation.spool import Position, WakeSource, WriterFolder, list_writers, remove_unborn
from livespan.proto.errors import Damaged, InvalidInput, LivespanError, NotFound
from livespan.proto.malloc import give_back
from livespan.proto.span import export_request

__all__ = ["Drain", "Pause", "no_pause"]

Pause = Callable[[str], None]
"""Called with the name of a step as it is passed; tests stop or kill there."""

_BACKOFF_S: Final = (0.05, 2.0)
_BUSY_S: Final = 0.002
_BUSY_FOR_S: Final = 0.02
_SMALL_BYTES: Final = 256 * 1024
_TIDY_S: Final = 1.0
"""A backlog leaves up to 20 MB of freed blocks between some that stay; to give them back takes 1.5 ms."""


class _Flying(NamedTuple):
    """A request on its way, without its bytes: how many spans and bytes, up to where, and what waits for its answer."""

    spans: int
    size_bytes: int
    upto: Position
    answer: Callable[[], bytes]


def no_pause(step: str) -> None:
    """What a drain in production calls at each step."""


class Drain:
    """Drains one spool.

    Args:
        spool: the home's `spool/`.
        connect: returns a client for an endpoint as it stands in a writer's `meta.json`, a fresh one after a failure.
        leave_after_s: ends `run` this long after the last acknowledgement, once no writer lives and nothing is pending.
        pause: the seam for tests.
    """

    def __init__(
        self,
        spool: Path,
        connect: Callable[[str], CollectorClient],
        *,
        leave_after_s: float = 60.0,
        pause: Pause = no_pause,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._spool = spool
        self._connect = connect
        self._leave_after_s = leave_after_s
        self._pause = pause
        self._refused = Refused(spool)
        self._wake = WakeSource(spool)
        self._clients: dict[str, CollectorClient] = {}
        self._folders: dict[str, WriterFolder] = {}
        self._last_work_s = time.monotonic()
        self._failed_s = 0.0
        self._tidied_s = 0.0
        self._tidied_at = 0

    def run(self) -> None:
        """Send until there is nothing to wait for."""
        remove_unborn(self._spool)
        while True:
            sent_before = self.counts["acknowledged_bytes"]
            worked = self.once()
            now = time.monotonic()
            self._tidy(now)
            if worked:
                self._last_work_s = now
                if self.counts["acknowledged_bytes"] - sent_before < _SMALL_BYTES:
                    time.sleep(_BUSY_S)  # so that the next request is worth what it costs all three processes
                continue
            if self._failed_s:
                time.sleep(self._failed_s)
                continue
            if now - self._last_work_s < _BUSY_FOR_S:
                self._watch()
                continue
            if now - self._last_work_s > self._leave_after_s and not self.has_writers():
                return
            self._wake.sleep(1.0, self._pending)

    def once(self) -> bool:
        """Send what every writer has above its watermark; return whether anything was acknowledged."""
        worked = False
        failed = self.counts["failed_requests"]
        for folder in self._writers():
            try:
                worked |= self._send(folder)
                self._pause("drain.before_delete")
                if folder.remove_finished():
                    self._folders.pop(folder.path.name, None)
                    self._pause("drain.deleted")
            except NotFound:
                self._folders.pop(folder.path.name, None)
            except Damaged as damage:
                self._pass_over(folder, damage)
        if self.counts["failed_requests"] == failed:
            self._failed_s = 0.0
        return worked

    def has_writers(self) -> bool:
        """Return whether any writer lives or has left something unsent."""
        return any(folder.alive() or self._has_entries(folder) for folder in self._writers())

    def close(self) -> None:
        """Let go of folders, channels and the bell."""
        for folder in self._folders.values():
            folder.close()
        for client in self._clients.values():
            client.close()
        self._wake.close()

    def _tidy(self, now: float) -> None:
        """Give freed memory back, now and then, where something was sent since."""
        sent = self.counts["acknowledged_bytes"]
        if sent > self._tidied_at and now - self._tidied_s >= _TIDY_S:
            give_back()
            self._tidied_s, self._tidied_at = now, sent

    def _watch(self) -> None:
        """Return when a writer has gone on, or none has for a while: an agent at work goes on without ringing."""
        until_s = self._last_work_s + _BUSY_FOR_S
        while True:
            time.sleep(_BUSY_S)
            try:
                if time.monotonic() > until_s or any(folder.has_news() for folder in self._folders.values()):
                    return
            except NotFound:
                return  # its folder is gone; the next look notices

    def _writers(self) -> list[WriterFolder]:
        found = {folder.path.name: folder for folder in list_writers(self._spool)}
        for name in self._folders.keys() - found.keys():
            self._folders.pop(name).close()
        for name, folder in found.items():
            self._folders.setdefault(name, folder)
        return [self._folders[name] for name in sorted(self._folders)]

    def _pending(self) -> bool:
        return any(self._has_entries(folder) for folder in self._writers())

    @staticmethod
    def _has_entries(folder: WriterFolder) -> bool:
        try:
            return next(folder.entries(folder.watermark()), None) is not None
        except (NotFound, Damaged):
            return False

    def _send(self, folder: WriterFolder) -> bool:
        """Send one writer's backlog, two requests in flight; return whether something was acknowledged."""
        client: CollectorClient | None = None
        endpoint = ""
        flying: deque[_Flying] = deque()
        acknowledged = False
        try:
            for batch in batches(self._outgoing(folder)):
                if client is None:
                    endpoint = folder.meta.endpoint
                    client = self._client(endpoint)
                self._pause("drain.before_send")
                flying.append(self._export(client, batch))
                del batch  # so that it is not held while the next is read
                self._pause("drain.sent")
                if len(flying) > 1:
                    acknowledged |= self._settle(folder, client, flying.popleft())
            while flying and client is not None:
                acknowledged |= self._settle(folder, client, flying.popleft())
        except NotFound:
            raise
        except LivespanError as error:
            if isinstance(error, Damaged) and self._settle_all(folder, client, flying):
                raise  # all that stands before it is acknowledged: it may be passed over
            self.counts["failed_requests"] += 1
            self._failed_s = min(max(self._failed_s * 2, _BACKOFF_S[0]), _BACKOFF_S[1])
            lost = self._clients.pop(endpoint, None)
            if lost is not None:
                lost.close()
        return acknowledged

    @staticmethod
    def _export(client: CollectorClient, batch: list[Outgoing]) -> _Flying:
        """Send a request. A small one is the last for now, and is waited for here: a call under way has a thread of its
        own in gRPC, which takes longer than the call.
        """
        request = export_request([span.wire for span in batch])
        size, upto = sum([span.wire.size_bytes for span in batch]), batch[-1].end
        if len(request) >= _SMALL_BYTES:
            return _Flying(len(batch), size, upto, client.export_later(request))
        outcome: bytes | InvalidInput
        try:
            outcome = client.export(request)
        except InvalidInput as error:
            outcome = error

        def answer() -> bytes:
            if isinstance(outcome, InvalidInput):
                raise outcome
            return outcome

        return _Flying(len(batch), size, upto, answer)

    def _settle_all(self, folder: WriterFolder, client: CollectorClient | None, flying: deque[_Flying]) -> bool:
        """Wait for what is under way; return whether all of it is acknowledged."""
        try:
            while flying and client is not None:
                self._settle(folder, client, flying.popleft())
        except LivespanError:
            return False
        return True

    def _settle(self, folder: WriterFolder, client: CollectorClient, request: _Flying) -> bool:
        """Wait for a request's acknowledgement and note it; send it span by span where the collector refuses it for
        good.
        """
        try:
            refused = client.rejected_spans(request.answer())
        except InvalidInput:
            refused = request.spans
        self._pause("drain.acknowledged")
        if refused:
            again = _up_to(request.upto, folder)
            self.counts["refused"] += self._refused.send_apart(client, folder.writer, again)
        self.counts["acknowledged"] += request.spans
        self.counts["acknowledged_bytes"] += request.size_bytes
        folder.advance(request.upto)
        self._pause("drain.advanced")
        return True

    def _outgoing(self, folder: WriterFolder) -> Iterator[Outgoing]:
        for entry in folder.entries(folder.watermark()):
            outgoing = Outgoing.of(entry, folder.writer)
            if outgoing is None:
                self.counts["refused"] += 1
                self._refused.keep(folder.writer, entry.seq, entry.head + entry.body)
                continue
            yield outgoing

    def _pass_over(self, folder: WriterFolder, damage: Damaged) -> None:
        """Go on behind a damaged record; it is counted, and what follows it is sent."""
        self.counts["damaged"] += 1
        try:
            folder.advance(folder.skip_damaged(damage))
        except (NotFound, InvalidInput):
            return

    def _client(self, endpoint: str) -> CollectorClient:
        client = self._clients.get(endpoint)
        if client is None:
            client = self._clients[endpoint] = self._connect(endpoint)
        return client


def _up_to(end: Position, folder: WriterFolder) -> Iterator[Outgoing]:
    """Read what a request held once more: it stands between the watermark and there."""
    for entry in folder.entries(folder.watermark()):
        if entry.end > end:
            return
        outgoing = Outgoing.of(entry, folder.writer)
        if outgoing is not None:  # else it is kept already
            yield outgoing
