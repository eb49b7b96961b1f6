"""Values that differ in every life, recorded: time, ids, randomness. A resumed run gets those of the first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Request
from livespan.instrumentation.core import FAIL
from livespan.instrumentation.run_block import active
from livespan.proto.clock import random_float, random_uuid, wall_ns
from livespan.proto.node import NodeType

__all__ = ["now", "random", "uuid4"]

_T = TypeVar("_T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REQUEST: Final = Request({})


def _site(name: str) -> CallSite:
    return CallSite.of(NodeType.MEMORY, f"livespan.{name}", effect=False, in_doubt=FAIL, is_value=True)


_NOW: Final = _site("now")
_UUID: Final = _site("uuid4")
_RANDOM: Final = _site("random")


def now() -> datetime:
    """Return the time (UTC, microseconds) at which the run first asked here."""
    return _recorded(_NOW, lambda: _EPOCH + timedelta(microseconds=wall_ns() // 1000))


def uuid4() -> UUID:
    """Return a random UUID, the same in every life."""
    return _recorded(_UUID, random_uuid)


def random() -> float:
    """Return a random float in [0, 1), the same in every life."""
    return _recorded(_RANDOM, random_float)


def _recorded(site: CallSite, make: Callable[[], _T]) -> _T:
    session, scope = active()
    return session.call(scope, site, _REQUEST, make)
