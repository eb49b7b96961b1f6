"""Exceptions are outcomes: what a program caught in one life it catches in the next."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from tests.proto.codec_models import Loud, Point, Quiet, Told

from livespan.proto.codec import decode, decode_exception, encode, encode_exception
from livespan.proto.errors import Divergence, InvalidInput, RecordedError


def again(error: BaseException) -> Any:
    """Return what a later life gets: of the same type, with the same arguments and text."""
    data = encode_exception(error)
    assert data is not None
    read = cast("Any", decode_exception(data))
    assert type(read) is type(error)
    assert read.args == error.args
    assert str(read) == str(error)
    return read


def parts(group: Any) -> tuple[Any, ...]:
    """Return the exceptions of a group."""
    held: tuple[Any, ...] = group.exceptions
    return held


def decode_error() -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 5, (1, {2})),
        KeyError("a"),
        Exception(),
        StopIteration(7),
        SystemExit(3),
        KeyboardInterrupt(),
        ZeroDivisionError("x"),
        OSError("odd"),
        FileNotFoundError(2, "No such file", "a.txt"),
        OSError(18, "Cross-device", "a", None, "b"),
        decode_error(),
        SyntaxError("bad", ("f.py", 1, 2, "x =", 1, 3)),
        TimeoutError(),
        InvalidInput("bad", subject="run", hint="do"),
        Divergence("other", subject="node"),
        RecordedError("gone", type_name="a.B"),
        Told("it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_has_its_type_and_arguments_again(error: BaseException) -> None:
    read = again(error)
    assert read.__dict__ == error.__dict__


def test_what_the_interpreter_keeps_beside_the_arguments_is_kept() -> None:
    read = again(FileNotFoundError(2, "No such file", "a.txt"))
    assert (read.errno, read.filename) == (2, "a.txt")
    assert again(OSError(18, "x", "a", None, "b")).filename2 == "b"
    assert again(decode_error()).object == b"a\xff"
    assert again(ImportError("no", name="m", path="p")).name == "m"
    assert again(StopIteration(7)).value == 7
    assert again(SystemExit(3)).code == 3


def test_an_init_of_its_own_is_not_run_and_attributes_are_set() -> None:
    made = Loud(code=5, peer=Point(1))
    made.add_note("seen twice")
    read = again(made)
    assert (read.code, read.peer) == (5, Point(1))
    assert read.__notes__ == ["seen twice"]


def test_an_attribute_that_no_codec_holds_is_left_out() -> None:
    made = Loud(code=5, peer=object())
    assert not hasattr(again(made), "peer")
    circle = Loud(code=6)
    circle.peer = Loud(code=7, peer=circle)
    read = again(circle)
    assert read.peer.code == 7
    assert not hasattr(read.peer, "peer")


def test_slots_of_an_exception_are_kept() -> None:
    made = Quiet(2, "x", "name")
    made.detail = (1,)
    read = again(made)
    assert read.detail == (1,)
    assert read.filename == "name"


def test_a_group_comes_back_with_its_exceptions() -> None:
    made = ExceptionGroup("both", [ValueError(1), ExceptionGroup("in", [Loud(code=2)])])
    data = encode_exception(made)
    assert data is not None
    read = cast("Any", decode_exception(data))
    assert type(read) is ExceptionGroup
    assert read.message == "both"
    first, second = parts(read)
    assert type(first) is ValueError
    assert type(second) is ExceptionGroup
    assert [(type(error), error.code) for error in parts(second)] == [(Loud, 2)]


def test_an_exception_may_stand_within_a_result() -> None:
    read: Any = decode(encode(["ok", ValueError("no")]))
    assert read[0] == "ok"
    assert type(read[1]) is ValueError
    assert read[1].args == ("no",)


def test_what_cannot_be_held_is_none() -> None:
    class Local(Exception):
        pass

    assert encode_exception(Local("x")) is None
    assert encode_exception(ValueError(object())) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"5",
        b'{"$type":"exception","class":"no.such:Error","value":{"args":[],"$state":{}}}',
        b'{"$type":"exception","class":"builtins:int","value":{"args":[],"$state":{}}}',
        b'{"$type":"exception","class":"builtins:ValueError","value":{"args":5}}',
        b'{"$type":"exception","class":"builtins:OSError","value":{"args":[2,"x"],"$state":{}}}',
    ],
)
def test_what_cannot_be_made_again_is_none(data: bytes) -> None:
    assert decode_exception(data) is None


class Order(BaseModel):
    """What a tool is given."""

    cents: int = Field(gt=0)
    card: str

    @field_validator("card")
    @classmethod
    def _known(cls, card: str) -> str:
        if card == "stolen":
            raise PydanticCustomError("stolen_card", "the card {card} is stolen", {"card": card})
        if len(card) < 4:
            raise ValueError("too short {really}")
        return card


@pytest.mark.parametrize("given", [{"cents": -1, "card": "x"}, {"card": "stolen"}, {"cents": "many", "card": 5}])
def test_what_pydantic_says_of_bad_arguments_comes_back(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        Order.model_validate(given)
    data = encode_exception(raised.value)
    assert data is not None
    read = decode_exception(data)
    assert isinstance(read, ValidationError)
    assert (str(read), read.title) == (str(raised.value), "Order")
    assert [(each["type"], each["loc"], each["input"]) for each in read.errors()] == [
        (each["type"], each["loc"], each["input"]) for each in raised.value.errors()
    ]
