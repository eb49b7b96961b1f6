"""Permission to start an effect: its started record acknowledged under a lease that lives, or no effect."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from livespan.instrumentation.barrier import Barrier
from livespan.instrumentation.client import CollectorClient
from livespan.instrumentation.settings import Unreachable
from livespan.proto.errors import EffectUnavailable, LeaseLost, LivespanError, Unavailable
from livespan.proto.ids import TraceId
from livespan.proto.span import WireSpan, export_request
from livespan.proto.v1.livespan_pb2 import RunRef

__all__ = ["Permission"]

_CALL_S: Final = 1.0
_PAUSE_S: Final = 0.1


class Permission:
    """Asks the collector on behalf of one run.

    Args:
        barrier: what must be acknowledged together with an effect's start.
        run, trace_id, epoch: which run, and as which of its lives.
        connect: returns the collector's client; `connect(True)` after a failure, when the collector may have to be
        found anew. lease_is_valid: whether the lease lives by our own clock. kick: sees to it that a drain runs.
        on_unreachable, unreachable_s: see AgentSettings.
    """

    def __init__(
        self,
        barrier: Barrier,
        run: RunRef,
        trace_id: TraceId,
        epoch: int,
        *,
        connect: Callable[[bool], CollectorClient],
        lease_is_valid: Callable[[], bool],
        kick: Callable[[], None],
        on_unreachable: Unreachable,
        unreachable_s: float,
    ) -> None:
        self._barrier = barrier
        self._run = run
        self._trace_id = trace_id
        self._epoch = epoch
        self._connect = connect
        self._lease_is_valid = lease_is_valid
        self._kick = kick
        self._on_unreachable = on_unreachable
        self._unreachable_s = unreachable_s

    def ask(self, started: WireSpan) -> bool:
        """Return True when the effect's start, and all that this run recorded before it, is acknowledged.

        False: the collector is away, and the user has said to go on by the spool while the lease lives.

        Raises:
            LeaseLost: this life may not start anything any more.
            EffectUnavailable: the collector could not be reached in time.
        """
        deadline = time.monotonic() + (_CALL_S if self._on_unreachable == "spool" else self._unreachable_s)
        again = False
        while True:
            if not self._lease_is_valid():
                raise self.lease_lost()
            try:
                before = self._barrier.collect(self._trace_id, deadline, self._kick)
                request = export_request([*before.spans, started])
                self._connect(again).intend(self._run, self._epoch, request, _CALL_S)
            except Unavailable as error:
                if time.monotonic() < deadline:
                    again = True
                    time.sleep(_PAUSE_S)
                    continue
                if self._on_unreachable == "spool" and self._lease_is_valid():
                    return False
                raise self.refused(error) from error
            except LivespanError as error:
                raise self.refused(error) from error
            except OSError as error:
                # No descriptor left, and the like. What is not acknowledged is not started, whatever the reason.
                raise self.refused(Unavailable(f"{type(error).__name__}: {error}")) from error
            self._barrier.acknowledged(before)
            return True

    def tail(self, deadline_s: float) -> list[WireSpan]:
        """Return what of this run is not acknowledged yet; raises as `Barrier.collect`."""
        return self._barrier.collect(self._trace_id, deadline_s, self._kick).spans

    def refused(self, error: LivespanError) -> EffectUnavailable:
        """Return the stop for an effect whose start could not be recorded."""
        return EffectUnavailable(
            f"the effect was not started, since its start could not be acknowledged: {error.message}",
            subject=f"run {self._run.run_id}",
            hint=error.hint or "Start the program again once the collector is back: it goes on where the record ends.",
        )

    def result_lost(self, name: str, error: LivespanError) -> EffectUnavailable:
        """Return the stop for an effect that was done and whose result found no room anywhere."""
        return EffectUnavailable(
            f"{name} was done, and its result could not be recorded: {error.message}",
            subject=f"run {self._run.run_id}",
            hint="Free disk space; when started again the effect is in doubt: look it up and `livespan resolve` it.",
        )

    def lease_lost(self) -> LeaseLost:
        """Return the stop for a life whose lease is over by its own clock."""
        return LeaseLost(
            "this process may not start anything any more: its lease was not renewed in time",
            subject=f"run {self._run.run_id}",
            hint="Start the program again with the same run id: it goes on where the record ends.",
        )
