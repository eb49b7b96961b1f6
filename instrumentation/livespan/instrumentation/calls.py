"""One call between a session and its callers: how it is asked for, what is kept while it is open, how a recorded answer
comes back. The rules of which happens are core/'s, the order of things is session.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from livespan.instrumentation.call_site import CallSite, Told
from livespan.instrumentation.core import Live, Recorded, Scope, mark
from livespan.proto.codec import decode, decode_exception, encode
from livespan.proto.errors import RecordedError, Unrecordable
from livespan.proto.ids import NodeId
from livespan.proto.span import Scalar

__all__ = ["Answered", "Codec", "OpenCall", "RecordedFault", "RecordedValue", "Request", "answer"]


class RecordedValue(NamedTuple):
    """An output as the record holds it: its JSON, or where to fetch it."""

    data: bytes
    large: bool = False


class RecordedFault(msgspec.Struct, frozen=True):
    """An error as the record holds it."""

    type: str = ""
    message: str = ""
    traceback: str = ""
    value: str = ""
    retry_after_s: float | None = None


def _nothing_told(result: object) -> Told:
    del result
    return _NOTHING_TOLD


_NOTHING_TOLD: Final = Told()


class Codec(NamedTuple):
    """How a call's result becomes JSON and comes back, and what it says of itself.

    Frameworks bring their own; `decode(encode(x)) == x`, type included, holds for each.
    """

    encode: Callable[[Any], bytes] = encode
    decode: Callable[[bytes], Any] = decode
    told: Callable[[Any], Told] = _nothing_told


PLAIN: Final = Codec()


class Request(NamedTuple):
    """One call as it is made.

    Attributes:
        value: what the callee sees; recorded as the input.
        seen: what takes part in the call's identity, where that is less than `value`.
        call_id: id under which a model asked for it.
        arguments: handed to a probe after the idempotency key.
        codec: of its result.
    """

    value: object
    seen: object = None
    call_id: str = ""
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})
    codec: Codec = PLAIN


class OpenCall:
    """A call that is made now: what must be kept from its start to its end.

    Attributes:
        data: its input as JSON.
        started_ns, asked_ns: wall time of this try, and of the first one of this life.
        recorded: whether its start found room in the spool, so that its end may be written.
        notes: attributes that its body has added.
    """

    __slots__ = ("asked_ns", "codec", "data", "live", "notes", "recorded", "scope", "site", "started_ns")

    def __init__(self, scope: Scope, site: CallSite, live: Live, codec: Codec, data: bytes, started_ns: int) -> None:
        self.scope = scope
        self.site = site
        self.live = live
        self.codec = codec
        self.data = data
        self.started_ns = self.asked_ns = started_ns
        self.recorded = True
        self.notes: dict[str, Scalar] = {}


class Answered(NamedTuple):
    """A result that came from the record."""

    value: Any


def answer(recorded: Recorded, codec: Codec, fetch: Callable[[NodeId, str], bytes]) -> Answered:
    """Return the result that a record holds.

    Args:
        recorded: a call that has ended.
        codec: of its result.
        fetch: returns what was too large to be sent at once: (node id, "output") -> bytes.

    Raises:
        Unrecordable: the call's result had no codec when it was made.
        BaseException: what the call raised when it was made.
    """
    if recorded.unrecordable:
        raise Unrecordable(
            "the result of this call was masked, or could not be recorded, when it was made",
            subject=recorded.name,
            hint="This run cannot go past it. Return values that a codec holds (register_codec teaches one), or leave "
            "mask_output=True away, and begin anew: with another run id.",
        )
    if not recorded.answered:
        raise _recorded_error(recorded)
    value = recorded.output
    assert isinstance(value, RecordedValue)
    return Answered(codec.decode(fetch(recorded.node_id, "output") if value.large else value.data))


def _recorded_error(recorded: Recorded) -> BaseException:
    fault = recorded.error if isinstance(recorded.error, RecordedFault) else RecordedFault()
    error = decode_exception(fault.value.encode()) if fault.value else None
    if error is None:
        error = RecordedError(fault.message, type_name=fault.type, subject=recorded.name)
    mark(error, recorded.node_id)
    return error
