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
from typing import Final

from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.outbound import Outgoing, batches, to_wire
from livespan.instrumentation.refused import Refused
from livespan.instrumentation.spool import WakeSource, WriterFolder, list_writers, remove_unborn
from livespan.proto.errors import Damaged, InvalidInput, LivespanError, NotFound
from livespan.proto.span import export_request

__all__ = ["Drain", "Pause", "no_pause"]

Pause = Callable[[str], None]
"""Called with the name of a step as it is passed; tests stop or kill there."""

_BACKOFF_S: Final = (0.05, 2.0)
_BUSY_S: Final = 0.002
_BUSY_FOR_S: Final = 0.02
_SMALL_BYTES: Final = 256 * 1024


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

    def run(self) -> None:
        """Send until there is nothing to wait for."""
        remove_unborn(self._spool)
        while True:
            sent_before = self.counts["acknowledged_bytes"]
            worked = self.once()
            now = time.monotonic()
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
        flying: deque[tuple[list[Outgoing], Callable[[], bytes]]] = deque()
        acknowledged = False
        try:
            for batch in batches(self._outgoing(folder)):
                if client is None:
                    endpoint = folder.meta.endpoint
                    client = self._client(endpoint)
                self._pause("drain.before_send")
                flying.append((batch, self._export(client, batch)))
                self._pause("drain.sent")
                if len(flying) > 1:
                    acknowledged |= self._settle(folder, client, *flying.popleft())
            while flying and client is not None:
                acknowledged |= self._settle(folder, client, *flying.popleft())
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
    def _export(client: CollectorClient, batch: list[Outgoing]) -> Callable[[], bytes]:
        """Send a request; what is returned waits for its answer. A small one is the last for now, and is waited for
        here: a call under way has a thread of its own in gRPC, which takes longer than the call.
        """
        request = export_request([span.wire for span in batch])
        if len(request) >= _SMALL_BYTES:
            return client.export_later(request)
        outcome: bytes | InvalidInput
        try:
            outcome = client.export(request)
        except InvalidInput as error:
            outcome = error

        def answer() -> bytes:
            if isinstance(outcome, InvalidInput):
                raise outcome
            return outcome

        return answer

    def _settle_all(
        self,
        folder: WriterFolder,
        client: CollectorClient | None,
        flying: deque[tuple[list[Outgoing], Callable[[], bytes]]],
    ) -> bool:
        """Wait for what is under way; return whether all of it is acknowledged."""
        try:
            while flying and client is not None:
                self._settle(folder, client, *flying.popleft())
        except LivespanError:
            return False
        return True

    def _settle(
        self, folder: WriterFolder, client: CollectorClient, batch: list[Outgoing], answer: Callable[[], bytes]
    ) -> bool:
        """Wait for a request's acknowledgement and note it; send it span by span where the collector refuses it for
        good.
        """
        try:
            refused = client.rejected_spans(answer())
        except InvalidInput:
            refused = len(batch)
        self._pause("drain.acknowledged")
        if refused:
            self.counts["refused"] += self._refused.send_apart(client, folder.writer, batch)
        self.counts["acknowledged"] += len(batch)
        self.counts["acknowledged_bytes"] += sum([span.wire.size_bytes for span in batch])
        folder.advance(batch[-1].entry.end)
        self._pause("drain.advanced")
        return True

    def _outgoing(self, folder: WriterFolder) -> Iterator[Outgoing]:
        for entry in folder.entries(folder.watermark()):
            wire = to_wire(entry, folder.writer)
            if wire is None:
                self.counts["refused"] += 1
                self._refused.keep(folder.writer, entry.seq, entry.head + entry.body)
                continue
            yield Outgoing(entry, wire)

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
