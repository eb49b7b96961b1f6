"""OTLP/gRPC: TraceService/Export on raw bytes, answered when the log has them on disk.

What is refused is said as the OTLP specification names it: INVALID_ARGUMENT for what is no request, partial success
for spans that cannot be stored, UNAVAILABLE with RetryInfo (both as status details and as the trailer that the Python
exporter reads) for "later".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from livespan.collector.door import judge
from livespan.collector.intake import Intake
from livespan.proto.errors import ErrorKind, LivespanError
from livespan.proto.rpc import DETAIL_KEY, detail, status_code

__all__ = ["EXPORT_METHOD", "add_trace_service"]

EXPORT_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_RETRY_S: Final = 1
_EMPTY: Final = b""
_Call: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Metadata: TypeAlias = tuple[tuple[str, bytes], ...]


def add_trace_service(server: grpc.aio.Server, intake: Intake, activity: Callable[[], None]) -> None:
    """Add TraceService to a server.

    Args:
        server: not started yet.
        intake: what acknowledges.
        activity: called at each request.
    """

    async def export(payload: bytes, context: _Call) -> bytes:
        activity()
        try:
            incoming = await judge(payload)
            if incoming.stored:
                await intake.append_parsed(incoming.payload, incoming.request)
        except LivespanError as error:
            await context.abort(status_code(error.kind), error.message, _trailers(error))
            raise  # abort raises; this is for the type checker
        refusals = incoming.refusals
        if not refusals:
            return _EMPTY  # an empty request succeeds too, as the specification says
        return ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(
                rejected_spans=len(refusals), error_message=f"span {refusals[0].span}: {refusals[0].reason}"
            )
        ).SerializeToString()

    untyped: Any = grpc  # its stubs leave these two open
    handler = untyped.unary_unary_rpc_method_handler(export, request_deserializer=None, response_serializer=None)
    cast("Any", server).add_generic_rpc_handlers(
        (untyped.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
    )


def _trailers(error: LivespanError) -> _Metadata:
    if error.kind is not ErrorKind.UNAVAILABLE:
        return ((DETAIL_KEY, detail(error)),)
    retry = RetryInfo(retry_delay=Duration(seconds=_RETRY_S))
    packed = AnyMessage()
    packed.Pack(retry)
    status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=error.message, details=[packed])
    return (
        (DETAIL_KEY, detail(error)),
        ("google.rpc.retryinfo-bin", retry.SerializeToString()),
        ("grpc-status-details-bin", status.SerializeToString()),
    )
