"""OTLP/gRPC: TraceService/Export on raw bytes, answered when the log has them on disk.

What is refused is said as the OTLP specification names it: INVALID_ARGUMENT for what is no request, partial success
for spans that cannot be stored, UNAVAILABLE with RetryInfo (both as status details and as the trailer that the Python
exporter reads) for "later". What is too large, gRPC itself refuses with RESOURCE_EXHAUSTED and no RetryInfo, and it
decompresses no further than the limit. What becomes of a request is otlp_receiver.py's.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

import grpc
import grpc.aio

from livespan.collector.otlp_receiver import Receiver, as_status, is_retryable, retry_info
from livespan.proto.errors import LivespanError
from livespan.proto.rpc import DETAIL_KEY, detail, status_code

__all__ = ["EXPORT_METHOD", "add_trace_service"]

EXPORT_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_Call: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Metadata: TypeAlias = tuple[tuple[str, bytes], ...]


def add_trace_service(server: grpc.aio.Server, receiver: Receiver) -> None:
    """Add TraceService to a server that is not started yet."""

    async def export(payload: bytes, context: _Call) -> bytes:
        try:
            with receiver.room.share() as share:
                share.take(len(payload))
                taken = await receiver.receive(payload, share)
        except LivespanError as error:
            await context.abort(status_code(error.kind), error.message, _trailers(error))
            raise  # abort raises; this is for the type checker
        return taken.response().SerializeToString()

    untyped: Any = grpc  # its stubs leave these two open
    handler = untyped.unary_unary_rpc_method_handler(export, request_deserializer=None, response_serializer=None)
    cast("Any", server).add_generic_rpc_handlers(
        (untyped.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
    )


def _trailers(error: LivespanError) -> _Metadata:
    if not is_retryable(error):
        return ((DETAIL_KEY, detail(error)),)
    return (
        (DETAIL_KEY, detail(error)),
        ("google.rpc.retryinfo-bin", retry_info().SerializeToString()),
        ("grpc-status-details-bin", as_status(status_code(error.kind).value[0], error).SerializeToString()),
    )
