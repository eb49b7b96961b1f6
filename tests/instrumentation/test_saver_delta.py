"""Values stored by what is new in them: whatever they are, they come back byte for byte."""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livespan.instrumentation.saver.delta import Part, difference, new_bytes
from livespan.instrumentation.saver.stored_value import StoredValue, stored

_TEXT = st.binary(max_size=600)


def joined(old: bytes, parts: list[Part]) -> bytes:
    return b"".join([part if isinstance(part, bytes) else old[part[0] : part[0] + part[1]] for part in parts])


@given(st.lists(_TEXT, max_size=6), st.lists(_TEXT, max_size=6), st.randoms(use_true_random=False))
def test_what_a_difference_says_is_the_new_value(common: list[bytes], own: list[bytes], drawn: Random) -> None:
    pieces = [*common, *own]
    drawn.shuffle(pieces)
    old, new = b"".join(common), b"".join(pieces)
    parts = difference(old, new)
    assert parts is None or joined(old, parts) == new


OLD = os.urandom(20_000)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(b"\xdc\x01\x02" + OLD[3:] + os.urandom(900), id="a longer list, its length at its head"),
        pytest.param(OLD[:5000] + os.urandom(300) + OLD[5000:], id="put in"),
        pytest.param(OLD[:5000] + OLD[6000:], id="taken out"),
        pytest.param(OLD[:5000] + b"other" + OLD[5005:], id="changed"),
        pytest.param(OLD[2000:], id="its beginning taken out"),
        pytest.param(OLD, id="the same"),
    ],
)
def test_a_small_change_of_a_long_value_is_small(new: bytes) -> None:
    parts = difference(OLD, new)
    assert parts is not None
    assert joined(OLD, parts) == new
    assert new_bytes(parts) < 1100


def test_values_with_nothing_in_common_have_no_difference() -> None:
    assert difference(os.urandom(5000), os.urandom(5000)) is None


def test_a_value_that_grows_costs_what_it_grows_by_and_comes_back() -> None:
    pieces = [os.urandom(1000) for _ in range(200)]
    last: StoredValue | None = None
    data, taken = b"", 0
    for number in range(1, len(pieces) + 1):
        grown = number.to_bytes(4, "big") + b"".join(pieces[:number])
        value = stored("msgpack", grown, last, data)
        taken += sum([len(part) for part in value.packed().parts if isinstance(part, bytes)])
        assert value.data() == grown
        last, data = value, grown
    assert taken < 4 * len(data), "all 200 versions take no more than four times the last of them"


def test_a_value_of_another_kind_is_stored_whole() -> None:
    first = stored("msgpack", b"x" * 5000, None)
    assert stored("json", b"x" * 5001, first, b"x" * 5000).base is None
