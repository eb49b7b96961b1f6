from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from livespan.collector.log import Appended, Entry, FileLog
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub


def go_away_while_it_is_recorded(
    monkeypatch: pytest.MonkeyPatch, channel: grpc.Channel, run: pb.RunRef, ask: Callable[[], Any]
) -> None:
    """Cancel a call (`ask` begins it) when its record reaches the log; that is written after the server heard of it."""
    reached, goes_on, append = threading.Event(), threading.Event(), FileLog.append

    def held_up(log: FileLog, entries: Sequence[Entry]) -> list[Appended]:
        reached.set()
        goes_on.wait(10)
        return append(log, entries)

    with monkeypatch.context() as patched:
        patched.setattr(FileLog, "append", held_up)
        asked = ask()
        assert reached.wait(10)
        asked.cancel()
        for _ in range(3):  # what is answered on this connection came behind the cancellation
            RecoveryStub(channel).Standing(pb.StandingRequest(run=run), timeout=10)
        goes_on.set()
