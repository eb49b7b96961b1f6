"""What comes by OTLP, before it may be appended: parsed, judged, and freed of what only the collector itself may say.

A lease says who may start things in a run. Leases are read back from the log at each start, so one that a client made
up would shut a run's own program out: it is refused like a span without ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from livespan.proto.otlp import Refusal, Request
from livespan.proto.record import RecordKind

__all__ = ["Incoming", "judged"]

_FORGED: Final = "a lease is recorded by the collector alone"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request that may be appended, as far as `stored` says.

    Attributes:
        payload, request: what is to be appended.
        stored: how many of its spans can be stored; with 0 there is nothing to append.
        refusals: the other spans, by their numbers in the request that was sent.
    """

    payload: bytes
    request: Request
    stored: int
    refusals: list[Refusal]


def judged(payload: bytes) -> Incoming:
    """Return a request as it may be appended.

    Raises:
        InvalidInput: it is no OTLP request, or holds far too many spans.
    """
    request = Request(payload)
    refusals = request.refusals()
    count = request.count()
    forged = [span for span, kind in request.kinds() if kind is RecordKind.LEASE]
    if forged:
        payload = request.without(frozenset(forged))
        request = Request(payload)
        refusals = sorted([*refusals, *(Refusal(span, _FORGED) for span in forged)], key=lambda each: each.span)
    return Incoming(payload, request, count - len(refusals), refusals)
