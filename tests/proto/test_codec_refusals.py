"""What the codecs refuse: to write what they could not read, to read what was not written."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from pathlib import PureWindowsPath
from typing import Any

import msgspec
import pytest
from tests.proto.codec_models import (
    Bag,
    Card,
    Point,
    Temperature,
)
from tests.proto.codec_same import same

from livespan.proto.codec import MAX_DEPTH, decode, encode, encode_input, register_codec
from livespan.proto.errors import Damaged, InvalidInput, Unrecordable


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ({"customer": {"address": [1, 2, 3, object()]}}, "arguments.customer.address[3]", "object"),
        ({"lock": threading.Lock()}, "arguments.lock", "lock"),
        ({"f": len}, "arguments.f", "builtin_function_or_method"),
        ({"a b": sys}, "arguments['a b']", "module"),
        ((1, [object()]), "arguments[1][0]", "object"),
        (Point(1, Card([object()])), "arguments.y.number[0]", "object"),
        ({1: {2: object()}}, "arguments[1][2]", "object"),
        ([Text("x")], "arguments[0]", "subclass of str"),
        ({Text("x"): 1}, "arguments.x", "subclass of str"),
        (Bag(), "arguments", "Bag"),
        ([iter([1])], "arguments[0]", "list_iterator"),
        ({object: object()}, "arguments[<class 'object'>]", "object"),
        (memoryview(b""), "arguments", "memoryview"),
    ],
)
def test_what_no_codec_holds_is_refused_by_path_and_type(value: object, path: str, said: str) -> None:
    with pytest.raises(Unrecordable) as refused:
        encode_input(value)
    assert refused.value.subject == path
    assert said in str(refused.value)
    assert "register_codec(" in refused.value.hint


def test_a_class_of_a_function_is_refused_since_no_later_life_finds_it() -> None:
    Local = msgspec.defstruct("Local", ["a"])  # noqa: N806  # a class, made by a call
    for value in (Local(1), Local):
        with pytest.raises(Unrecordable, match="cannot be imported again") as refused:
            encode({"point": value})
        assert refused.value.subject == "value.point"


def test_a_structure_that_holds_itself_is_refused_where_it_closes() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    twice: list[Any] = []
    twice += [twice, twice]
    point = Point(1)
    point.y = (point,)
    for value, path in ((circle, "value[1].again"), (twice, "value[0]"), (point, "value.y[0]")):
        with pytest.raises(Unrecordable, match="holds itself") as refused:
            encode(value)
        assert refused.value.subject == path


def listed(value: object) -> object:
    return [value]


def keyed(value: object) -> object:
    return {"a": value}


def paired(value: object) -> object:
    return {1: value}


def tupled(value: object) -> object:
    return (value,)


@pytest.mark.parametrize("wrap", [listed, keyed, paired, tupled, Point])
def test_depth_has_a_bound_below_which_everything_is_read_again(
    wrap: Callable[[object], object],
) -> None:
    value: object = 1
    deepest = b""
    depth = 0
    while depth <= MAX_DEPTH + 2:
        try:
            deepest = encode(value)
        except Unrecordable:
            break
        value = wrap(value)
        depth += 1
    assert MAX_DEPTH // 4 < depth <= MAX_DEPTH + 2
    assert encode(decode(deepest)) == deepest
    with pytest.raises(Unrecordable, match="levels deep"):
        encode_input(value)


def test_a_registered_codec_holds_exactly_its_type() -> None:
    with pytest.raises(Unrecordable):
        encode(Temperature(1))
    register_codec(Temperature, "temperature", lambda t: (t.kelvin, "K"), lambda d: Temperature(d[0]))
    value = {"t": [Temperature(3.5)], Temperature(1): math.nan}
    assert same(decode(encode(value)), value)

    class Warmer(Temperature):
        pass

    with pytest.raises(Unrecordable):
        encode(Warmer(1))


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (complex, "other"),
        (Text, "tuple"),
        (Text, "dataclass"),
        (Text, "dict"),
        (Text, "set"),
        (set, "x"),
        (str, "string"),
        (Text, ""),
    ],
)
def test_a_name_or_a_type_has_one_codec(type_: type[Any], name: str) -> None:
    with pytest.raises(InvalidInput):
        register_codec(type_, name, str, type_)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"$type":"tuple"}',
        b'{"$type":"uuid","value":"x"}',
        b'{"$type":["a"]}',
        b'{"$type":"int","value":[]}',
        b'{"$type":"bytes","value":"*"}',
        b'{"$type":"enum","class":"tests.proto.codec_models:Colour","value":"GREEN"}',
    ],
)
def test_damaged_text_is_told(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"$type":"no such codec","value":1}',
        b'{"$type":"dataclass","class":"no_such_module:A","value":{}}',
        b'{"$type":"dataclass","class":"os:system","value":{}}',
        b'{"$type":"dataclass","class":"subprocess:Popen","value":{}}',
        b'{"$type":"exception","class":"subprocess:Popen","value":{"args":["true"],"$state":{}}}',
        b'{"$type":"class","class":"os:no"}',
        b'{"$type":"class","class":5}',
    ],
)
def test_a_record_builds_nothing_but_values_of_the_kind_it_names(data: bytes) -> None:
    with pytest.raises(Unrecordable):
        decode(data)


def test_a_path_whose_text_reads_as_another_path_is_refused() -> None:
    with pytest.raises(Unrecordable, match="another path") as refused:
        encode({"to": PureWindowsPath("\\\\share\\")})
    assert refused.value.subject == "value.to"
