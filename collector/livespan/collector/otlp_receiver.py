"""What OTLP/gRPC and OTLP/HTTP share: from a body to what its sender is told, whichever way it came.

    body ─▶ room? ─▶ unpack (gunzip, JSON) ─▶ parse ─▶ refusals ─▶ append: fdatasync ─▶ Taken
             │           │                      │                      │
             └───────────┴──────────────────────┴──────────────────────┴─▶ LivespanError; does later help?

A large body is unpacked, parsed and judged in a thread, so that the loop goes on answering effects and leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from livespan.collector.door import Incoming, judged
from livespan.collector.gunzip import TooLarge
from livespan.collector.intake import Intake
from livespan.collector.refusals import RefusalReason
from livespan.collector.room import Room, Share
from livespan.proto.errors import Closed, ErrorKind, InvalidInput, LivespanError, Unavailable

__all__ = ["RETRY_S", "Receiver", "Taken", "Unpack", "as_status", "is_retryable", "retry_info"]

RETRY_S: Final = 1
"""What a client that is refused for now is asked to wait, in seconds."""
_LARGE_BYTES: Final = 256 * 1024
"""Two thousand of the smallest spans, 25 ms, for which effects and leases can wait; a step or two is far below."""
_THREADS: Final = 2

Unpack: TypeAlias = Callable[[bytes, Share], bytes]
"""From a body as it came to protobuf bytes; takes what it makes larger from the share."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: acknowledged, but for the spans that cannot be stored.

    Attributes:
        rejected_spans: how many were refused for good; 0 = none.
        message: why, for the first of them.
    """

    rejected_spans: int = 0
    message: str = ""

    def response(self) -> ExportTraceServiceResponse:
        """Return OTLP's answer; on full success its `partial_success` is not set."""
        if not self.rejected_spans:
            return ExportTraceServiceResponse()
        return ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(rejected_spans=self.rejected_spans, error_message=self.message)
        )


class Receiver:
    """Takes requests for all transports of one collector; whoever made it closes it, when no more come.

    Args:
        intake: what acknowledges.
        room: the bound of what is under way.
        activity: called at each request.
    """

    def __init__(self, intake: Intake, room: Room, activity: Callable[[], None]) -> None:
        self.room = room
        self._intake = intake
        self._activity = activity
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="livespan-otlp")

    def admit(self) -> None:
        """Return where a request may be sent now; raises Unavailable where it would be refused whatever it holds."""
        self._activity()
        self._intake.admit()

    def refused(self, reason: RefusalReason) -> None:
        """Count a request that a transport refuses by itself."""
        self._intake.counts.refusals.add(reason)

    async def receive(self, body: bytes, share: Share, unpack: Unpack | None = None) -> Taken:
        """Return when all that can be stored is acknowledged.

        Args:
            body: as it came, its bytes taken from the room already.
            share: what the request has of the room.
            unpack: for what is not protobuf yet; it runs in a thread.

        Raises:
            InvalidInput: it is no request.
            Unavailable: not now; later helps.
        """
        self.admit()
        try:
            if unpack is None and len(body) <= _LARGE_BYTES:
                read = _read(body, share, None)
            else:
                loop = asyncio.get_running_loop()
                read = await loop.run_in_executor(self._threads, _read, body, share, unpack)
        except InvalidInput as error:
            large = isinstance(error, TooLarge)
            self.refused(RefusalReason.TOO_LARGE if large else RefusalReason.INVALID_REQUEST)
            raise
        if read.stored:  # the specification: an empty request succeeds, too
            try:
                await self._intake.append_parsed(read.payload, read.request)
            except Closed as error:
                raise Unavailable(error.message, hint=error.hint) from error
        if not read.refusals:
            return Taken()
        self._intake.counts.refusals.add(RefusalReason.INVALID_SPAN, len(read.refusals))
        first = read.refusals[0]
        return Taken(len(read.refusals), f"span {first.span}: {first.reason}")

    async def close(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)


def is_retryable(error: LivespanError) -> bool:
    """Return whether the same request may be taken later."""
    return error.kind is ErrorKind.UNAVAILABLE


def retry_info() -> RetryInfo:
    """Return when to try again."""
    return RetryInfo(retry_delay=Duration(seconds=RETRY_S))


def as_status(code: int, error: LivespanError) -> Status:
    """Return an error as google.rpc.Status, with RetryInfo where later helps.

    Args:
        code: gRPC's number for it.
    """
    status = Status(code=code, message=f"{error.message}. {error.hint}" if error.hint else error.message)
    if is_retryable(error):
        packed = AnyMessage()
        packed.Pack(retry_info())
        status.details.append(packed)
    return status


def _read(body: bytes, share: Share, unpack: Unpack | None) -> Incoming:
    return judged(body if unpack is None else unpack(body, share))
