"""What comes by OTLP, before it may be appended: parsed, judged, and freed of what only the collector itself may say.

A lease says who may start things in a run. Leases are read back from the log at each start, so one that a client made
up would shut a run's own program out: it is refused like a span without ids.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    forged = [span for span, kind in _kinds(request) if kind is RecordKind.LEASE]
    if forged:
        payload = request.without(frozenset(forged))
        request = Request(payload)
        refusals = sorted([*refusals, *(Refusal(span, _FORGED) for span in forged)], key=lambda each: each.span)
    return Incoming(payload, request, count - len(refusals), refusals)


def _kinds(request: Request) -> Iterable[tuple[int, RecordKind]]:
    """Return the number and kind of each span that can be stored.

    They stand in the records, which are needed a moment later anyway. What no record can be made of is stored all the
    same, and told when it is indexed.
    """
    try:
        records = request.records(0)
    except Exception:  # noqa: BLE001  # a border: a bug in reading what a span says must not keep it from the log
        return request.kinds()
    return [(record.log_seq, record.kind) for record in records]
