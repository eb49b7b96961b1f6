from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.livespan_home import LiveHome

import livespan.instrumentation as ls


def some() -> tuple[datetime, datetime, UUID, UUID, float, float]:
    return ls.now(), ls.now(), ls.uuid4(), ls.uuid4(), ls.random(), ls.random()


def test_time_ids_and_randomness_are_those_of_the_first_life(shared: LiveHome) -> None:
    with shared.run("values") as run:
        first = some()
        assert (run.reused, run.executed) == (0, 6)
    with shared.run("values") as run:
        assert some() == first
        assert (run.reused, run.executed) == (6, 0)
    with shared.run("values of another run"):
        assert some()[2:] != first[2:]


def test_they_have_the_types_that_they_are_named_for(shared: LiveHome) -> None:
    with shared.run("types of values"):
        now, later, one, other, low, high = some()
    assert now.tzinfo is UTC
    assert now <= later
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
    assert one.version == 4
    assert one != other
    assert low != high
    assert 0 <= low < 1
