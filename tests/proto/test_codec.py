"""The law of the codecs: a value is read again as it was, types included."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.codec_models import (
    Access,
    Card,
    Colour,
    Level,
    Pair,
    Point,
    Word,
)
from tests.proto.codec_same import same

from livespan.proto.codec import decode, encode, encode_input

TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["$type", "value", "class", "\ud800"])
OFFSETS = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))
ZONES = (
    st.none()
    | st.just(dt.UTC)
    | st.builds(dt.timezone, OFFSETS)
    | st.builds(dt.timezone, OFFSETS, st.text("abc"))
    | st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])
)
HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.binary(max_size=8)
    | st.complex_numbers()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=ZONES)
    | st.times(timezones=ZONES)
    | st.timedeltas()
    | st.builds(dt.timezone, OFFSETS)
    | st.builds(PurePosixPath, st.text("ab/.", max_size=6))
    | st.builds(Path, st.text("ab/.", max_size=6))
    | st.builds(PureWindowsPath, st.text("ab\\:", max_size=6)).filter(lambda path: PureWindowsPath(str(path)) == path)
    | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.just(2))
    | st.sampled_from([Colour.RED, Colour.BLUE, Word.YES, Level.LOW, Access.READ, Access(3), Access(0)])
    | st.sampled_from([int, Point, dt.datetime]),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3) | st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE | st.sampled_from([Decimal("NaN"), Decimal("-sNaN12")]) | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(TEXT, inner, max_size=3).map(OrderedDict)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(lambda items: deque(items, 5))
        | st.sets(HASHABLE, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Card, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)
UTF_8 = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | UTF_8
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(UTF_8.filter(lambda key: key != "$type"), inner),
)


@given(VALUES)
@settings(max_examples=600, deadline=None)
def test_a_value_is_read_again_as_it_was_with_its_types(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_json_in_utf_8(value: object) -> None:
    import json

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    json.loads(encode(value).decode("utf-8"), parse_constant=refuse)


@given(JSON)
@settings(deadline=None)
def test_plain_json_is_written_as_it_stands(value: object) -> None:
    assert encode(value) == msgspec.json.encode(value)
    assert same(decode(encode(value)), value)


def shuffled(value: Any, chance: random.Random) -> Any:
    """Return an equal value whose dicts and sets were put together in another order."""
    kind = cast("type[object]", type(value))
    make = cast("Callable[[list[Any]], object]", type(value))
    if kind in (list, tuple, dict, set, frozenset):
        # The pairs of a dict are tuples, and so are gone through with the rest.
        items: list[Any] = list(value.items() if kind is dict else value)
        if kind not in (list, tuple):
            chance.shuffle(items)
        return make([shuffled(item, chance) for item in items])
    if kind is Point:
        return Point(shuffled(value.x, chance), shuffled(value.y, chance))
    return value


@given(VALUES, st.randoms())
@settings(max_examples=400, deadline=None)
def test_the_canonical_form_does_not_see_the_order_of_dicts_and_sets(value: object, chance: random.Random) -> None:
    assert encode_input(shuffled(value, chance)) == encode_input(value)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_the_canonical_form_is_the_same_after_reading(value: object) -> None:
    assert encode_input(decode(encode_input(value))) == encode_input(value)


def test_results_keep_the_order_of_their_dicts_and_inputs_do_not() -> None:
    assert encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'
    assert encode_input({"b": 1, "a": {"d": (1,), "c": 2}}) == encode_input({"a": {"c": 2, "d": (1,)}, "b": 1})
    assert encode_input({2: "b", 1: "a"}) == encode_input({1: "a", 2: "b"})
    assert encode_input(OrderedDict([("b", 1), ("a", 2)])) != encode_input(OrderedDict([("a", 2), ("b", 1)]))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ([1], (1,)),
        ("a", b"a"),
        ("a", Path("a")),
        ({"a": 1}, Point({"a": 1})),
        ({1, 2}, frozenset({1, 2})),
        (["1"], [1]),
        ({1: "a"}, {"1": "a"}),
        (None, math.nan),
        ("yes", Word.YES),
        (1, Level.LOW),
        (dt.datetime(2024, 1, 1), "2024-01-01T00:00:00"),
        ({"$type": "tuple", "value": [1]}, (1,)),
    ],
)
def test_values_of_different_types_are_never_written_alike(left: object, right: object) -> None:
    assert encode(left) != encode(right)
    assert encode_input([left]) != encode_input([right])


@pytest.mark.parametrize("name", ["tuple", "dataclass", "no such codec", "dict", 3, None])
def test_a_dict_that_looks_like_a_tag_stays_a_dict(name: object) -> None:
    value = {"$type": name, "value": [1], "class": "os:system", "deep": [{"$type": name}]}
    assert same(decode(encode(value)), value)
    assert decode(encode_input(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        [math.nan],
        {"a": math.inf},
        [[-math.inf]],
        (math.nan,),
        [1, [2, {"a": [3, math.nan]}]],
        {"a": -0.0},
        -(2**63) - 1,
        2**64,
        [7**9000],
        {"a\udc00": 1},
        ["\ud83d\ude00"],
    ],
)
def test_what_json_has_no_room_for_comes_back(value: object) -> None:
    assert same(decode(encode(value)), value)
    assert same(decode(encode_input(value)), value)


def test_the_second_of_two_equal_wall_times_and_zones_are_kept() -> None:
    first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    for value in (
        first,
        second,
        dt.datetime(2024, 1, 1, fold=1),
        dt.time(1, fold=1, tzinfo=dt.UTC),
    ):
        assert same(decode(encode(value)), value)
    read = decode(encode(second))
    assert isinstance(read, dt.datetime)
    assert read.utcoffset() == dt.timedelta(hours=1)
    assert same(decode(encode(dt.timezone(dt.timedelta(0), "GMT"))), dt.timezone(dt.timedelta(0), "GMT"))


def test_containers_of_the_standard_library_come_back() -> None:
    factory: defaultdict[str, list[int]] = defaultdict(list, {"a": [1]})
    read = decode(encode(factory))
    assert same(read, factory)
    assert isinstance(read, defaultdict)
    assert read.default_factory is list
    for value in (Counter("abca"), deque([1, 2], maxlen=2), UUID(int=5), 1 + 2j):
        assert same(decode(encode(value)), value)
    bounded = decode(encode(deque([1, 2], maxlen=2)))
    assert isinstance(bounded, deque)
    assert bounded.maxlen == 2
