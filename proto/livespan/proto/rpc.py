"""How our errors cross gRPC: a status code for its kind, and an ErrorDetail in trailing metadata so that the caller's
side can raise
the same error again, hint and all.
"""

from __future__ import annotations

from typing import Any, Final, cast

import grpc
import grpc.aio

from livespan.proto import errors
from livespan.proto.access import NO_ACCESS, Access
from livespan.proto.credentials import channel_credentials, with_headers
from livespan.proto.errors import GRPC_STATUS, ErrorKind, Internal, LivespanError, Stop, Unavailable
from livespan.proto.unreachable import unreachable_hint
from livespan.proto.v1.livespan_pb2 import ErrorDetail

__all__ = [
    "DETAIL_KEY",
    "MAX_MESSAGE_BYTES",
    "abort",
    "detail",
    "from_detail",
    "open_channel",
    "status_code",
    "translate",
]

DETAIL_KEY: Final = "livespan-error-bin"
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The OTLP specification's recommended limit, after decompression."""

_TLS: Final = "https://"
_CHANNEL_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", -1),  # what a collector answers is as large as what it was asked for
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
]
_CODES: Final = {code.name: code for code in grpc.StatusCode}
_ERRORS: Final[dict[str, type[LivespanError] | type[Stop]]] = {
    cls.__name__: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, (LivespanError, Stop)) and cls is not errors.RunStopped
}
_KIND_OF_CODE: Final[dict[grpc.StatusCode, type[LivespanError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Unavailable,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Conflict,
    grpc.StatusCode.DATA_LOSS: errors.Damaged,
    grpc.StatusCode.CANCELLED: errors.Closed,
}


def status_code(kind: ErrorKind) -> grpc.StatusCode:
    """Return the gRPC status of an error kind."""
    return _CODES[GRPC_STATUS[kind]]


def detail(error: LivespanError | Stop) -> bytes:
    """Return the serialised ErrorDetail of an error, by its name in the error tree where it is a kind of one."""
    return ErrorDetail(
        kind=error.kind.value,
        name=next((cls.__name__ for cls in type(error).__mro__ if _ERRORS.get(cls.__name__) is cls), "Internal"),
        message=error.message,
        subject=error.subject,
        hint=error.hint,
    ).SerializeToString()


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: LivespanError | Stop) -> None:
    """End a call of an asynchronous service by this error."""
    await context.abort(status_code(error.kind), error.message, ((DETAIL_KEY, detail(error)),))


def from_detail(value: bytes) -> LivespanError | Stop:
    """Return the error that a serialised ErrorDetail tells of."""
    found = ErrorDetail.FromString(value)
    known = _ERRORS.get(found.name, Internal)
    return known(found.message, subject=found.subject, hint=found.hint)


def translate(error: grpc.RpcError, *, subject: str = "") -> LivespanError | Stop:
    """Return the error that a failed call stands for: the collector's own where it sent one, else by status code."""
    for key, value in _trailing(error):
        if key == DETAIL_KEY and isinstance(value, bytes):
            return from_detail(value)
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    text = error.details() if isinstance(error, grpc.Call) else str(error)
    cls = _KIND_OF_CODE.get(code, Internal)
    hint = unreachable_hint(text or "") if issubclass(cls, Unavailable) else ""
    return cls(f"{code.name}: {text}", subject=subject, hint=hint)


def _trailing(error: grpc.RpcError) -> list[tuple[str, str | bytes]]:
    if not isinstance(error, grpc.Call):
        return []
    pairs = cast("tuple[tuple[str, str | bytes], ...] | None", error.trailing_metadata())
    return list(pairs or ())


def open_channel(target: str, access: Access = NO_ACCESS) -> grpc.Channel:
    """Return a channel of its own to a collector, usable in a forked child.

    A local subchannel pool keeps a child from sharing its parent's connection.

    Args:
        target: `unix:/path`, `host:port`, or `https://host:port` for TLS.
        access: what is shown over TCP.

    Raises:
        InvalidInput: the certificate that `access` names cannot be read.
    """
    if target.startswith(_TLS):
        secure = grpc.secure_channel(target.removeprefix(_TLS), channel_credentials(access), options=_CHANNEL_OPTIONS)
        return with_headers(secure, access.headers)
    plain = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
    return plain if target.startswith("unix:") else with_headers(plain, access.headers)
