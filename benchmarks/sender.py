"""The process that sends to a collector what requests.py makes, in place of agents and their drain.

    python -m benchmarks.sender flood TARGET NAME NODES_EACH REQUESTS states|plain
    python -m benchmarks.sender paced TARGET NAME NODES_EACH REQUESTS states|plain PERIOD_S

`flood` makes all of them first and then has two under way, as a drain does. `paced` sends one each period, whatever
became of those before it, and counts from the moment that it was due. It prints "ready", begins with the first line
on its stdin, and prints what it has seen as JSON when the last one is acknowledged. What the collector has no room
for now is sent again, and counted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, cast

import grpc
import msgspec

from benchmarks.requests import requests
from livespan.proto.otlp import Request
from livespan.proto.rpc import open_channel

__all__ = ["Sender", "Sent"]

_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_UNDER_WAY: Final = 2
_AGAIN_S: Final = 0.05
_TIMEOUT_S: Final = 30.0
_MS: Final = 1000


class Sent(msgspec.Struct, frozen=True):
    """What a sender has seen.

    Attributes:
        nodes, records, size_bytes: what was acknowledged.
        took_s: from the first request to the last acknowledgement.
        refused: how often a request had to be sent again.
        latencies_ms: of each request, from the moment that it was due; of a flood there are none.
    """

    nodes: int
    records: int
    size_bytes: int
    took_s: float
    refused: int
    latencies_ms: list[float]


class Sender:
    """A sender in a process of its own; it is ready when this is made, and `sent` runs it.

    Args:
        target: the collector's.
        name: as `requests` takes it.
        nodes_each, count: so many requests, of so many nodes.
        states: nodes of 50 KB.
        period_s: one request each period; 0 = as fast as they are acknowledged, two under way.
    """

    def __init__(
        self, target: str, name: str, nodes_each: int, count: int, *, states: bool, period_s: float = 0.0
    ) -> None:
        words = [target, name, str(nodes_each), str(count), "states" if states else "plain"]
        mode = ["paced", *words, str(period_s)] if period_s else ["flood", *words]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sender", *mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def sent(self) -> Sent:
        """Send all, and return what was seen when the last one is acknowledged."""
        told, _ = self._process.communicate(b"go\n")
        return msgspec.json.decode(told, type=Sent)


class _Export:
    """A channel, and the call that sends plain bytes over it."""

    def __init__(self, target: str) -> None:
        untyped_grpc: Any = grpc  # its stubs leave futures open, and know no call on plain bytes
        untyped: Any = open_channel(target)
        untyped_grpc.channel_ready_future(untyped).result(_TIMEOUT_S)
        self._call = cast(
            "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
            untyped.unary_unary(_EXPORT, request_serializer=None, response_deserializer=None),
        )

    def later(self, request: bytes) -> grpc.CallFuture[bytes]:
        return self._call.future(request, timeout=_TIMEOUT_S)


def _was_refused(call: grpc.CallFuture[bytes]) -> bool:
    """Return whether an ended call is to be made again; raises what else became of it."""
    error: Any = call.exception()
    if error is None:
        if call.result():
            raise AssertionError("the collector refused spans of the benchmark for good")
        return False
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        raise error
    return True


def _flood(export: _Export, all_of_them: list[bytes]) -> tuple[float, int]:
    """Send requests; return seconds, and how often one was refused."""
    refused = 0
    flying: deque[tuple[bytes, grpc.CallFuture[bytes]]] = deque()
    began_s = time.perf_counter()
    waiting = iter(all_of_them)
    request = next(waiting, None)
    while flying or request is not None:
        while request is not None and len(flying) < _UNDER_WAY:
            flying.append((request, export.later(request)))
            request = next(waiting, None)
        oldest, call = flying.popleft()
        while _was_refused(call):
            refused += 1
            time.sleep(_AGAIN_S)
            call = export.later(oldest)
    return time.perf_counter() - began_s, refused


def _paced(
    export: _Export, nodes_each: int, count: int, name: str, states: bool, period_s: float
) -> tuple[int, float, int, list[float]]:
    """Send a request each period; return bytes, seconds, how often one was refused, and the latencies."""
    ended: SimpleQueue[tuple[bytes, float, float, grpc.CallFuture[bytes]]] = SimpleQueue()

    def send(request: bytes, due_s: float) -> None:
        export.later(request).add_done_callback(
            lambda call: ended.put((request, due_s, time.perf_counter(), cast("grpc.CallFuture[bytes]", call)))
        )

    latencies_ms: list[float] = []
    size_bytes = refused = 0
    making = requests(name, nodes_each, states=states)
    request = next(making)  # what they are made of is made with the first
    began_s = time.perf_counter()
    due_s = began_s
    for sent in range(1, count + 1):
        size_bytes += len(request)
        due_s += period_s
        time.sleep(max(0.0, due_s - time.perf_counter()))
        send(request, due_s)
        request = next(making)
        last = sent == count
        while not last or len(latencies_ms) < count:
            try:
                again, was_due_s, ended_s, call = ended.get(last, _TIMEOUT_S)
            except Empty:
                break
            if _was_refused(call):
                refused += 1
                send(again, was_due_s)
            else:
                latencies_ms.append((ended_s - was_due_s) * _MS)
    return size_bytes, time.perf_counter() - began_s, refused, latencies_ms


def _begin() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _main(mode: str, target: str, name: str, nodes_each: int, count: int, states: bool, period_s: float) -> Sent:
    export = _Export(target)
    records_each = Request(next(requests(name, nodes_each, states=states))).count()
    if mode == "paced":
        _begin()
        size_bytes, took_s, refused, latencies_ms = _paced(export, nodes_each, count, name, states, period_s)
    else:
        made = list(islice(requests(name, nodes_each, states=states), count))
        size_bytes, latencies_ms = sum(map(len, made)), list[float]()
        _begin()
        took_s, refused = _flood(export, made)
    return Sent(nodes_each * count, records_each * count, size_bytes, took_s, refused, latencies_ms)


if __name__ == "__main__":
    seen = _main(
        sys.argv[1],
        sys.argv[2],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
        sys.argv[6] == "states",
        float(sys.argv[7]) if len(sys.argv) > 7 else 0.0,
    )
    print(msgspec.json.encode(seen).decode())
