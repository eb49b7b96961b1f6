from __future__ import annotations

import pytest

from livespan.recovery.supervision.patience import GaveUp, Limits, Patience, Sighting


def patience(*, max_restarts: int = 10, same_place: int = 3, progress: int = 0, jitter: float = 0.0) -> Patience:
    return Patience(Limits(max_restarts, same_place), progress, lambda: jitter)


def test_three_lives_that_end_at_one_place_are_a_crash_loop() -> None:
    one = patience()
    assert [one.crashed(Sighting(0, "a")) for _ in range(3)] == [None, None, GaveUp.CRASH_LOOP]
    assert one.lives_here == 3


def test_lives_that_end_at_one_place_but_get_on_in_between_are_none() -> None:
    one = patience(max_restarts=1)
    assert [one.crashed(Sighting(progress, "a")) for progress in range(1, 20)] == [None] * 19


def test_lives_that_end_in_turn_at_two_places_meet_the_limit() -> None:
    one = patience(max_restarts=5)
    told = [one.crashed(Sighting(0, "ab"[number % 2])) for number in range(6)]
    assert told == [None] * 5 + [GaveUp.LIMIT]


def test_progress_before_the_first_life_is_none_of_its_own() -> None:
    one = patience(progress=7)
    assert [one.crashed(Sighting(7, "a")) for _ in range(3)][-1] is GaveUp.CRASH_LOOP


def test_without_restarts_the_first_crash_is_the_last() -> None:
    one = patience(max_restarts=0)
    assert one.would_give_up(Sighting(0, "a"))
    assert one.crashed(Sighting(5, "a")) is GaveUp.LIMIT


@pytest.mark.parametrize("progress", [0, 1])
def test_what_would_give_up_does(progress: int) -> None:
    for limits in (Limits(0, 3), Limits(1, 3), Limits(2, 3), Limits(9, 1), Limits(9, 2)):
        for lives in range(4):
            one = Patience(limits, 0, lambda: 0.0)
            for _ in range(lives):
                one.crashed(Sighting(0, "a"))
            seen = Sighting(progress, "a")
            foretold = one.would_give_up(seen)
            assert foretold is (one.crashed(seen) is not None), (limits, lives)


def test_progress_that_is_seen_late_corrects_the_count_of_the_last_crash() -> None:
    one = patience(max_restarts=2)
    for progress in range(1, 9):
        assert one.crashed(Sighting(progress - 1, "a")) is None, "what this life did is not seen yet"
        one.looked(Sighting(progress, "a"))
        assert (one.restarts, one.lives_here) == (1, 1)


def test_a_look_that_shows_nothing_new_changes_nothing() -> None:
    one = patience()
    one.crashed(Sighting(1, "a"))
    one.crashed(Sighting(1, "a"))
    one.looked(Sighting(1, "a"))
    assert (one.restarts, one.lives_here) == (2, 2)
    assert one.crashed(Sighting(1, "a")) is GaveUp.CRASH_LOOP


def test_a_collector_that_does_not_tell_takes_no_progress_back() -> None:
    one = patience()
    one.crashed(Sighting(4, "a"))
    one.looked(Sighting(0, "unknown"))
    one.crashed(Sighting(4, "a"))
    assert one.restarts == 2


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    def waits(jitter: float) -> list[float]:
        one = Patience(Limits(20, 20, 1.0, 10.0), 0, lambda: jitter)
        found: list[float] = []
        for _ in range(6):
            one.crashed(Sighting(0, "a"))
            found.append(one.wait_s())
        return found

    assert waits(1.0) == [1, 2, 4, 8, 10, 10]
    assert waits(0.0) == [0.5, 1, 2, 4, 5, 5]


def test_a_great_many_restarts_do_not_overflow() -> None:
    one = Patience(Limits(10_000, 10_000, 1.0, 60.0), 0, lambda: 0.0)
    for _ in range(5_000):
        one.crashed(Sighting(0, "a"))
    assert one.wait_s() == 30
