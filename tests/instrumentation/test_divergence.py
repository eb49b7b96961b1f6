from __future__ import annotations

from typing import Any

import pytest
from tests.livespan_home import LiveHome

import livespan.instrumentation as ls
from livespan.instrumentation.divergence import first_difference
from livespan.proto.errors import RunStopped


@pytest.mark.parametrize(
    ("recorded", "asked", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "input.a was 1, is 2"),
        ({"a": 1}, {}, "input.a was 1, is absent"),
        ({}, {"a": None}, "input.a was absent, is null"),
        ({"b": 1, "a": [1, {"x": "old"}]}, {"b": 2, "a": [1, {"x": "new"}]}, 'input.a[1].x was "old", is "new"'),
        ([1, 2], [1], "input had 2 items, has 1"),
        (1, True, "input was 1, is true"),
        (1, 1.0, "input was 1, is 1.0"),
        ("x" * 200, "y", f'input was "{"x" * 119}..., is "y"'),
    ],
)
def test_the_first_difference_is_named_with_both_sides(recorded: Any, asked: Any, said: str) -> None:
    assert first_difference(recorded, asked, "input") == said


@ls.step
def think(question: str, context: list[str]) -> str:
    return question


@ls.step
def look(question: str) -> str:
    return question


def stopped(live: LiveHome, run_id: str, first: Any, second: Any) -> str:
    with pytest.raises(KeyError), live.run(run_id):
        first()
        raise KeyError
    with pytest.raises(RunStopped) as told, live.run(run_id):
        second()
    assert "another id" in told.value.hint
    return told.value.message


def test_a_changed_input_is_told_with_its_place_even_where_it_is_large(shared: LiveHome) -> None:
    long = ["x" * 50_000, "old"]
    said = stopped(shared, "large", lambda: think("a", long), lambda: think("a", [long[0], "new"]))
    assert said.endswith('first difference: input.context[1] was "old", is "new"')


def test_another_step_in_its_place_is_told_by_both_names(shared: LiveHome) -> None:
    said = stopped(shared, "another", lambda: think("a", []), lambda: look("a"))
    assert "PROMPT look" in said
    assert "PROMPT think" in said
    assert "first difference" not in said
