"""Asks the collector how a run stands, from a process that starts and ends others and must not end with any of them.

The collector may die too: it is started again where it is the home's own, waited for where it is not. A channel is
opened for each question and closed, so that no child inherits one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import grpc

from livespan.proto.access import Access
from livespan.proto.errors import LivespanError, Unavailable
from livespan.proto.home import Home
from livespan.proto.rendezvous import ensure, locate
from livespan.proto.rpc import open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub
from livespan.recovery.supervision.children import Children

__all__ = ["Asker"]

_ANSWER_S: Final = 10.0
_PATIENCE_S: Final = 15.0
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks about one run.

    Attributes:
        home: whose collector is asked, and started where none runs.
        endpoint: target of another collector, "" for the home's.
        access: what is shown to that one.
        run: project and id.
        children: of this process, whose signals must not be blocked in a collector that is started here.
    """

    home: Home
    endpoint: str
    access: Access
    run: pb.RunRef
    children: Children

    def standing(self) -> pb.StandingReply:
        """Return how the run stands.

        Raises:
            Unavailable: no collector answers, or none can be started. Others: what the collector answers.
        """
        target = self._target()
        with open_channel(target, self.access) as channel:
            try:
                return RecoveryStub(channel).Standing(pb.StandingRequest(run=self.run), timeout=_ANSWER_S)
            except grpc.RpcError as error:
                raise translate(error, subject=target) from error

    def standing_if_told(self) -> pb.StandingReply | None:
        """Return how the run stands, None where no collector has said so within 15 s, or it cannot say."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self.standing()
            except Unavailable:
                if time.monotonic() > deadline or not self.children.pause(_PAUSE_S):
                    return None
            except LivespanError:
                return None  # a damaged lake must not keep the program from being started again

    def _target(self) -> str:
        if self.endpoint:
            return self.endpoint
        address = locate(self.home)
        if address is not None:
            return address.target
        with self.children.unblocked():
            return ensure(self.home)
