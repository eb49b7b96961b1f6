"""Holding the lease of a run: a thread that keeps the stream open, renews, and says so when the lease is lost.

The thread's clock is this process's monotonic one, which a SIGSTOP does not hold up: a process that was frozen past
its lease knows by itself that it may not start anything, before any collector tells it so.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc

from livespan.instrumentation.client import CollectorClient
from livespan.proto.errors import Cancelled, LeaseLost, LivespanError, Stop, Unavailable
from livespan.proto.rpc import translate
from livespan.proto.v1 import livespan_pb2 as pb

__all__ = ["Holding"]

_GRANT_S = 10.0
_RETRY_S = 0.5
_JOIN_S = 2.0
_OVER = "this process may not start anything any more"
"""How a lost lease is told; the collector's own words begin so too."""


class Holding:
    """The lease of one run in this process, from `acquire` to `end`.

    Args:
        client: the collector's.
        request: who asks for which run.
        on_lost: called once, from the thread, when the lease is lost for good, or the run was cancelled.
        reconnect: returns the client to go on with when the collector is gone (it may have to be started anew).
        kick_drain: sees to it that a drain runs; at each renewal, so that a killed one does not stay away.
    """

    def __init__(
        self,
        client: CollectorClient,
        request: pb.HoldRequest,
        on_lost: Callable[[Stop], object],
        reconnect: Callable[[], CollectorClient],
        kick_drain: Callable[[], None],
    ) -> None:
        self._client = client
        self._request = request
        self._on_lost = on_lost
        self._reconnect = reconnect
        self._kick_drain = kick_drain
        self._pid = os.getpid()
        self._joining = threading.Lock()
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._granted: queue.Queue[pb.HoldReply | LivespanError | Stop] = queue.Queue(1)
        self._first = True
        self._epoch = 0
        self._cancelled = False
        self._lease_s = 15.0
        self._valid_until_s = 0.0
        self._thread = threading.Thread(target=self._keep, name="livespan-lease", daemon=True)

    def acquire(self) -> pb.HoldReply:
        """Return the collector's grant.

        Raises:
            RunHeld, RunFinished: as the collector says.
            Unavailable: it did not answer in 10 s.
        """
        self._thread.start()
        try:
            answer = self._granted.get(timeout=_GRANT_S)
        except queue.Empty:
            self._ended.set()
            raise Unavailable(
                f"the collector did not grant the run within {_GRANT_S:g} s",
                subject=self._client.target,
                hint="`livespan doctor` looks at home, collector and disk.",
            ) from None
        if isinstance(answer, pb.HoldReply):
            return answer
        raise answer

    @property
    def is_valid(self) -> bool:
        """Whether the lease lives by our own clock."""
        if self._pid != os.getpid():
            self._join()
        return time.monotonic() < self._valid_until_s

    def end(self) -> None:
        """Stop renewing; the caller has given the lease back or lets it run out."""
        self._ended.set()

    def _join(self) -> None:
        """In a forked child: renew from here too. The epoch is its parent's, and the lease ends with the parent."""
        with self._joining:
            if self._pid == os.getpid():
                return
            self._ended = threading.Event()
            threading.Thread(target=self._keep, name="livespan-lease", daemon=True).start()
            deadline = time.monotonic() + _JOIN_S
            while time.monotonic() >= self._valid_until_s and time.monotonic() < deadline:
                time.sleep(0.005)  # what we know of the parent's renewals is over: the answer to ours tells
            self._pid = os.getpid()

    def _keep(self) -> None:
        while not self._ended.is_set():
            asked: deque[float] = deque()
            try:
                for reply in self._client.hold(self._requests(asked)):
                    self._renewed(reply, asked.popleft())
                if self._ended.is_set():
                    return
            except grpc.RpcError as error:
                problem = translate(error)
                if self._first:
                    self._granted.put(problem)
                    return
                if isinstance(problem, (LeaseLost, Stop)):
                    self._lose(str(problem.message))
                    return
            if self._ended.is_set():
                return
            if time.monotonic() >= self._valid_until_s:
                self._lose(f"the collector could not be reached for {self._lease_s:g} s")
                return
            self._ended.wait(_RETRY_S)
            try:
                self._client = self._reconnect()
            except LivespanError:
                continue  # tried again until the lease is over by our own clock

    def _requests(self, asked: deque[float]) -> Iterator[pb.HoldRequest]:
        """Yield the stream's questions; `asked` gets the time of each, and each has one answer."""
        ended = self._ended
        asked.append(time.monotonic())
        yield self._request if self._first else self._renewal()
        self._answered.wait(_GRANT_S)  # how long the lease is, and so when to renew it, is told by the first answer
        while not ended.wait(self._lease_s / 3):
            with suppress(OSError):  # the renewal matters more, and an effect kicks again
                self._kick_drain()
            asked.append(time.monotonic())
            yield self._renewal()

    def _renewal(self) -> pb.HoldRequest:
        return pb.HoldRequest(run=self._request.run, holder=self._request.holder, epoch=self._epoch)

    def _renewed(self, reply: pb.HoldReply, asked_s: float) -> None:
        self._lease_s = reply.lease_s
        # Counted from the question: never later than by the collector's clock.
        self._valid_until_s = asked_s + reply.lease_s
        if self._first:
            self._first = False
            self._epoch = reply.epoch
            self._request.run.generation = reply.generation
            self._answered.set()
            self._granted.put(reply)
        if reply.cancelled and not self._cancelled:
            # The lease is kept until this life has ended: what is under way may still record its end under it.
            self._cancelled = True
            self._on_lost(
                Cancelled(
                    "the run was cancelled, and starts nothing any more",
                    subject=f"run {self._request.run.run_id}",
                    hint='run(ID, if_finished="new") begins it anew, from its first step.',
                )
            )

    def _lose(self, reason: str) -> None:
        self._on_lost(
            LeaseLost(
                reason if reason.startswith(_OVER) else f"{_OVER}: {reason}",
                subject=f"run {self._request.run.run_id}",
                hint="Start the program again with the same run id: it goes on where the record ends.",
            )
        )
