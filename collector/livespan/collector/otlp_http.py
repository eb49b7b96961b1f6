"""OTLP/HTTP: POST /v1/traces, protobuf or JSON by Content-Type, gzip, chunked or not.

An answer has its request's Content-Type. What is refused is a google.rpc.Status in that encoding:

    400  no OTLP, no gzip              never helps again
    404  metrics, logs                 only traces are taken
    405  not POST                      408  the body did not come in time
    413  more than the limit           after decompression; no more than the limit is ever held
    415  another Content-Type or Content-Encoding
    503  later, with Retry-After       leaving, no room, hot tier full

A body is counted against the room while it comes, chunk by chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from enum import StrEnum
from typing import Final

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from livespan.collector.gunzip import TooLarge, gunzip
from livespan.collector.otlp_json import from_json
from livespan.collector.otlp_receiver import RETRY_S, Receiver, Unpack, as_status, is_retryable
from livespan.collector.refusals import RefusalReason
from livespan.collector.room import Share
from livespan.proto.errors import HTTP_STATUS, Internal, InvalidInput, LivespanError, NotFound
from livespan.proto.rpc import status_code

__all__ = ["TRACES_PATH", "Encoding", "discard", "encoding_of", "other_routes", "status_response", "trace_route"]

TRACES_PATH: Final = "/v1/traces"
_OTHER_PATHS: Final = ("/v1/metrics", "/v1/logs")
_DISCARDED_BYTES: Final = 1024 * 1024
_BODY_S: Final = 60.0
_DISCARD_S: Final = 5.0
_DISCARDED_LIMITS: Final = 2
_GONE: Final = 499
_TOO_LARGE: Final = 413
_IDENTITY: Final = "identity"
_GZIP: Final = "gzip"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED


class Encoding(StrEnum):
    """The encodings of OTLP/HTTP, by their Content-Type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"

    def render(self, message: Message) -> bytes:
        """Return an answer in this encoding."""
        if self is Encoding.JSON:
            return MessageToJson(message, indent=None).encode()
        return message.SerializeToString()


class _Refused(Exception):
    """A request that is refused before it is received: by its headers, its size, or the time it takes."""

    def __init__(self, http_status: int, code: grpc.StatusCode, error: LivespanError, **headers: str) -> None:
        super().__init__(error.message)
        self.http_status = http_status
        self.code = code
        self.error = error
        self.headers = headers


def trace_route(receiver: Receiver, limit_bytes: int) -> Route:
    """Return the route of OTLP's traces.

    Args:
        receiver: what takes them.
        limit_bytes: largest body, after decompression.
    """

    async def export(request: Request) -> Response:
        # Who sent neither encoding is answered in the form that a person can read.
        encoding = encoding_of(request) or Encoding.JSON
        try:
            with receiver.room.share() as share:
                unpack = _checked(request, encoding, limit_bytes)
                receiver.admit()
                taken = await receiver.receive(await _body(request, share, limit_bytes), share, unpack)
        except ClientDisconnect:
            return Response(status_code=_GONE)  # nobody reads it
        except _Refused as refused:
            receiver.refused(
                RefusalReason.TOO_LARGE if refused.http_status == _TOO_LARGE else RefusalReason.INVALID_REQUEST
            )
            await discard(request, _DISCARDED_LIMITS * limit_bytes)
            return status_response(encoding, refused.http_status, refused.code, refused.error, refused.headers)
        except TooLarge as error:
            return status_response(encoding, _TOO_LARGE, _EXHAUSTED, error)
        except LivespanError as error:
            await discard(request, _DISCARDED_LIMITS * limit_bytes)
            headers = {"Retry-After": str(RETRY_S)} if is_retryable(error) else {}
            return status_response(encoding, HTTP_STATUS[error.kind], status_code(error.kind), error, headers)
        except Exception as error:  # noqa: BLE001  # a request's border: its sender is told, the others go on
            internal = Internal(f"{type(error).__name__}: {error}")
            return status_response(encoding, 500, grpc.StatusCode.INTERNAL, internal)
        return Response(encoding.render(taken.response()), media_type=encoding.value)

    return Route(TRACES_PATH, export, methods=_METHODS)


def other_routes() -> list[Route]:
    """Return the routes of OTLP's other signals, which are not taken: an SDK that sends all it has is told so."""

    async def refuse(request: Request) -> Response:
        await discard(request, _DISCARDED_BYTES)
        error = NotFound(
            "only traces are taken here",
            subject=request.url.path,
            hint="Set OTEL_METRICS_EXPORTER=none and OTEL_LOGS_EXPORTER=none, or an endpoint of their own.",
        )
        encoding = encoding_of(request) or Encoding.JSON
        return status_response(encoding, 404, grpc.StatusCode.UNIMPLEMENTED, error)

    return [Route(path, refuse, methods=_METHODS) for path in _OTHER_PATHS]


def status_response(
    encoding: Encoding,
    http_status: int,
    code: grpc.StatusCode,
    error: LivespanError,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error as OTLP/HTTP says it: google.rpc.Status in the request's encoding."""
    number: int = code.value[0]
    return Response(encoding.render(as_status(number, error)), http_status, headers, media_type=encoding.value)


def _checked(request: Request, encoding: Encoding, limit_bytes: int) -> Unpack | None:
    """Return how the body of a request is unpacked, None where it is plain protobuf; nothing of it is read yet."""
    if request.method != "POST":
        error = InvalidInput(f"{request.method} is not what this path takes", hint="POST an ExportTraceServiceRequest.")
        raise _Refused(405, grpc.StatusCode.UNIMPLEMENTED, error, Allow="POST")
    if encoding_of(request) is None:
        said = request.headers.get("content-type", "")
        error = InvalidInput(f"Content-Type {said!r} is not taken", hint=f"Use {' or '.join(Encoding)}.")
        raise _Refused(415, grpc.StatusCode.INVALID_ARGUMENT, error)
    compression = request.headers.get("content-encoding", "").strip().lower() or _IDENTITY
    if compression not in (_IDENTITY, _GZIP):
        error = InvalidInput(f"Content-Encoding {compression!r} is not taken", hint="Use gzip, or none.")
        raise _Refused(415, grpc.StatusCode.INVALID_ARGUMENT, error, **{"Accept-Encoding": _GZIP})
    zipped = compression == _GZIP
    announced = request.headers.get("content-length", "")
    if not zipped and announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    if not zipped and encoding is Encoding.PROTOBUF:
        return None

    def unpack(body: bytes, share: Share) -> bytes:
        if zipped:
            body = gunzip(body, limit_bytes)
            share.take(len(body))
        return from_json(body) if encoding is Encoding.JSON else body

    return unpack


async def _body(request: Request, share: Share, limit_bytes: int) -> bytes:
    """Return a body as it came, at most so many bytes."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S), aclosing(_chunks(request)) as chunks:
            async for chunk in chunks:
                share.take(len(chunk))
                body += chunk
                if len(body) > limit_bytes:
                    raise _too_large(limit_bytes)
    except TimeoutError as error:
        late = InvalidInput(f"the body did not come within {_BODY_S:g} s")
        raise _Refused(408, grpc.StatusCode.DEADLINE_EXCEEDED, late) from error
    return bytes(body)


async def discard(request: Request, most_bytes: int) -> None:
    """Read what is still on its way and forget it: who is cut off while he sends does not see why he was refused."""
    seen = 0
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: it was read to its end
        async with asyncio.timeout(_DISCARD_S), aclosing(_chunks(request)) as chunks:
            async for chunk in chunks:
                seen += len(chunk)
                if seen > most_bytes:
                    return


async def _chunks(request: Request) -> AsyncGenerator[bytes]:
    async for chunk in request.stream():
        yield chunk


def encoding_of(request: Request) -> Encoding | None:
    """Return the encoding that a request's Content-Type names, None where OTLP has no such."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Encoding(said) if said in set(Encoding) else None


def _too_large(limit_bytes: int) -> _Refused:
    error = TooLarge(
        f"the body has more than the {limit_bytes} bytes that are taken",
        hint="Send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE.",
    )
    return _Refused(_TOO_LARGE, _EXHAUSTED, error)
