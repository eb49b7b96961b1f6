"""The agent's calls to Recovery, to Threads, and to OTLP's Export: one channel per process and target, made lazily.

On one machine an effect's permission takes the shorter way of proto/intend_socket.py, and gRPC where that does not
serve. A forked child makes its own channel (a parent's does not survive the fork). Every call has a deadline. Errors
come back as our own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from livespan.instrumentation.intend_connections import IntendConnections
from livespan.proto.access import NO_ACCESS, Access
from livespan.proto.errors import Stop
from livespan.proto.intend_socket import intend_path
from livespan.proto.rpc import detail, open_channel, translate
from livespan.proto.v1 import livespan_pb2 as pb
from livespan.proto.v1.livespan_pb2_grpc import RecoveryStub, ThreadsStub

__all__ = ["EXPORT_METHOD", "CollectorClient"]

EXPORT_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OPEN_S: Final = 60.0
_FETCH_S: Final = 30.0
_EXPORT_S: Final = 30.0
_APPEND_S: Final = 10.0


class CollectorClient:
    """Speaks to one collector. Thread-safe.

    Args:
        target: as `open_channel` takes it.
        access: what is shown to a collector elsewhere.

    Raises (every call):
        LivespanError or Stop: what the collector answered; Unavailable where it cannot be reached.
    """

    def __init__(self, target: str, access: Access = NO_ACCESS) -> None:
        self.target = target
        self._access = access
        path = intend_path(target)
        self._intends = IntendConnections(path) if path is not None else None
        self._connect()

    def hold(self, requests: Iterator[pb.HoldRequest]) -> Iterator[pb.HoldReply]:
        """Open the lease's stream; it lives as long as `requests` does."""
        return iter(self._stub().Hold(requests))

    def open(self, run: pb.RunRef, epoch: int) -> Iterator[pb.OpenReply]:
        """Yield all that is recorded of a run, in batches as they come."""
        try:
            yield from self._stub().Open(pb.OpenRequest(run=run, epoch=epoch), timeout=_OPEN_S)
        except grpc.RpcError as error:
            raise translate(error, subject=f"run {run.run_id}") from error

    def fetch(self, run: pb.RunRef, node_id: bytes, what: str) -> bytes:
        """Return a recorded input or output that was too large for `open`."""
        request = pb.FetchRequest(run=run, node_id=node_id, what=what)
        try:
            return self._stub().Fetch(request, timeout=_FETCH_S).content
        except grpc.RpcError as error:
            raise translate(error, subject=f"run {run.run_id}, node {node_id.hex()}") from error

    def intend(self, run: pb.RunRef, epoch: int, export: bytes, timeout_s: float) -> int:
        """Ask for permission to start an effect; returns when its start is acknowledged."""
        self._fresh()
        request = pb.IntendRequest(run=run, epoch=epoch, export=export)
        if self._intends is not None:
            log_seq = self._intends.ask(request.SerializeToString(), timeout_s)
            if log_seq is not None:
                return log_seq
        try:
            return self._stub().Intend(request, timeout=timeout_s).log_seq
        except grpc.RpcError as error:
            raise translate(error, subject=f"run {run.run_id}") from error

    def close_run(
        self, run: pb.RunRef, epoch: int, export: bytes, timeout_s: float, stopped: Stop | None = None
    ) -> None:
        """Hand over the last records and give the lease back, with what stopped this life, if anything of ours did."""
        told = pb.ErrorDetail.FromString(detail(stopped)) if stopped is not None else None
        request = pb.CloseRequest(run=run, epoch=epoch, export=export, stopped=told)
        try:
            self._stub().Close(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise translate(error, subject=f"run {run.run_id}") from error

    def append_thread(self, run: pb.RunRef, request: bytes) -> int:
        """Append records of a LangGraph thread; returns how many were refused for good, once the rest is acknowledged.

        Args:
            run: under whose id they stand.
        """
        self._fresh()
        if self._intends is not None:
            asked = pb.IntendRequest(run=run, export=request)
            if self._intends.ask(asked.SerializeToString(), _APPEND_S) is not None:
                return 0
        return self.rejected_spans(self.export(request))

    def read_thread(self, request: pb.ReadThreadRequest) -> Iterator[pb.ReadThreadReply]:
        """Yield what is recorded of a LangGraph thread behind what the caller knows."""
        self._fresh()
        try:
            yield from self._threads.Read(request, timeout=_OPEN_S)
        except grpc.RpcError as error:
            raise translate(error, subject=f"thread {request.thread_id}") from error

    def threads(self, request: pb.ListThreadsRequest) -> list[str]:
        """Return the ids of a project's LangGraph threads."""
        self._fresh()
        try:
            return list(self._threads.List(request, timeout=_OPEN_S).thread_ids)
        except grpc.RpcError as error:
            raise translate(error, subject="threads") from error

    def export(self, request: bytes) -> bytes:
        """Send an OTLP request; returns the response's bytes when it is acknowledged."""
        self._fresh()
        try:
            return self._export(request, timeout=_EXPORT_S)
        except grpc.RpcError as error:
            raise translate(error) from error

    def export_later(self, request: bytes) -> Callable[[], bytes]:
        """Send an OTLP request; what is returned waits for its acknowledgement and gives the response's bytes."""
        self._fresh()
        call = self._export.future(request, timeout=_EXPORT_S)

        def answer() -> bytes:
            try:
                return call.result()
            except grpc.RpcError as error:
                raise translate(error) from error

        return answer

    @staticmethod
    def rejected_spans(response: bytes) -> int:
        """Return how many spans a response says were refused for good."""
        return ExportTraceServiceResponse.FromString(response).partial_success.rejected_spans if response else 0

    def close(self) -> None:
        """Close this process's channel."""
        if self._pid == os.getpid():
            self._channel.close()
            if self._intends is not None:
                self._intends.close()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._channel = open_channel(self.target, self._access)
        self._recovery = RecoveryStub(self._channel)
        self._threads = ThreadsStub(self._channel)
        untyped: Any = self._channel  # its stub knows no call on plain bytes
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = untyped.unary_unary(
            EXPORT_METHOD, request_serializer=None, response_deserializer=None
        )

    def _fresh(self) -> None:
        if self._pid != os.getpid():
            if self._intends is not None:
                self._intends.close()  # our copies of the parent's
            self._connect()

    def _stub(self) -> RecoveryStub:
        self._fresh()
        return self._recovery
