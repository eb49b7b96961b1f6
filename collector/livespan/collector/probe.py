"""Whether a home's collector is well, as an exit code: for HEALTHCHECK and probes, which reach no unix socket.

    python -m livespan.collector.probe live     0: it answers
    python -m livespan.collector.probe ready    0: it answers, and takes what is sent to it

The home is `LIVESPAN_HOME`. It asks gRPC's standard health service and starts nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from livespan.proto.errors import LivespanError
from livespan.proto.home import Home, default_home
from livespan.proto.rendezvous import locate
from livespan.proto.rpc import open_channel

__all__ = ["main", "probe"]

_TIMEOUT_S: Final = 3.0
_WORDS: Final = ("live", "ready")


def probe(home: Home, timeout_s: float = _TIMEOUT_S) -> tuple[bool, bool]:
    """Return whether the home's collector answers, and whether it takes what is sent."""
    try:
        address = locate(home)
    except LivespanError:
        return False, False  # it speaks another version than this image
    if address is None:
        return False, False
    with open_channel(address.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False, False
    serving: bool = reply.status == health_pb2.HealthCheckResponse.SERVING
    return True, serving


def main(arguments: Sequence[str], home: Home) -> int:
    """Return 0 where the collector is what was asked for, 1 where it is not, 2 for a question that is none."""
    if len(arguments) != 1 or arguments[0] not in _WORDS:
        print("usage: python -m livespan.collector.probe live|ready", file=sys.stderr)
        return 2
    live, ready = probe(home)
    well = live if arguments[0] == "live" else ready
    if not well:
        print(f"the collector of {home.root} is not {arguments[0]}", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    said = os.environ.get("LIVESPAN_HOME")
    sys.exit(main(sys.argv[1:], Home(Path(said).expanduser().absolute() if said else default_home())))
