"""The gRPC server of a collector, without its services: sizes, keepalive, the token that calls must show, its ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from livespan.collector.bearer import BearerInterceptor
from livespan.collector.listening import Guard

__all__ = ["add_port", "grpc_server"]


def grpc_server(max_message_bytes: int, token: str, refused: Callable[[], None] = lambda: None) -> grpc.aio.Server:
    """Return a server that is not started yet.

    Args:
        max_message_bytes: of a request, after decompression.
        token: what calls over TCP must show; "" = nothing.
        refused: called when one does not show it.
    """
    untyped: Any = grpc.aio  # its stub leaves the interceptors' types open
    server: grpc.aio.Server = untyped.server(
        interceptors=[BearerInterceptor(token, refused)] if token else None,
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),  # a run of 100,000 nodes is 80 MB of JSON
            ("grpc.so_reuseport", 0),
            # A client behind a NAT or a load balancer is found dead within a minute; one that pings is no attacker.
            ("grpc.keepalive_time_ms", 40_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 0),
        ],
    )
    return server


def add_port(server: grpc.aio.Server, guard: Guard, address: str) -> int:
    """Have a server listen at host:port, behind TLS where the guard has a certificate; return the port.

    Raises:
        RuntimeError: the address cannot be listened on.
    """
    if guard.certificate is None or guard.key is None:
        return server.add_insecure_port(address)
    pair = (guard.key.read_bytes(), guard.certificate.read_bytes())
    return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
