"""Values held by the kind of their class: nothing of the class runs when they are read again."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from typing import Any, cast

import pytest
from pydantic import AnyUrl, HttpUrl
from tests.proto.codec_models import (
    Access,
    Address,
    Bag,
    Box,
    Card,
    Colour,
    Customer,
    Doubled,
    Normal,
    Packed,
    Pair,
    Point,
)

from livespan.proto.codec import decode, encode, encode_input
from livespan.proto.errors import Unrecordable


def again(value: Any) -> Any:
    """Return what a later life gets; the canonical form must give the same."""
    read = decode(encode(value))
    assert type(read) is type(value)
    assert type(decode(encode_input(value))) is type(value)
    return read


def test_a_frozen_slotted_dataclass_comes_back_past_its_post_init() -> None:
    made = Card("x", tags=[Point(1, (2,)), None])
    object.__setattr__(made, "number", "made")
    read = again(made)
    assert read == made
    assert read.tags == [Point(1, (2,)), None]


def test_what_an_init_would_change_again_is_left_alone() -> None:
    assert again(Doubled(3)) == Doubled(3)
    assert again(Normal(3)).size == Normal(3).size == 4


def test_attributes_beside_the_fields_are_kept() -> None:
    made = Point(1)
    made.__dict__["cached"] = {1: 2}
    assert again(made).cached == {1: 2}


def test_a_field_that_was_deleted_stays_so() -> None:
    made = Point(1, 2)
    del made.y
    assert again(made).__dict__ == {"x": 1}


def test_a_dataclass_that_is_also_a_dict_is_refused_since_its_items_would_be_lost() -> None:
    with pytest.raises(Unrecordable, match="subclass of dict"):
        encode(Bag("a"))


def test_named_tuples_are_tuples_of_their_class() -> None:
    read = again(Pair([1], {"$type": "x"}))
    assert read == Pair([1], {"$type": "x"})
    assert read.right == {"$type": "x"}


def test_structs_come_back() -> None:
    made = Packed(name=Pair(1, Packed(name=math.inf)), size=9)
    assert again(made) == made


def test_enums_are_the_same_members() -> None:
    assert again(Colour.RED) is Colour.RED
    assert again(Access.READ | Access.WRITE) == Access.READ | Access.WRITE


def test_a_model_comes_back_without_its_validators() -> None:
    made = Customer.model_validate(
        {
            "name": "Ada",
            "address": {"street": "Elm"},
            "data": (1, {2}),
            "more": [dt.date(2024, 1, 1)],
        }
    )
    private: Any = made
    private._seen = 5
    assert made.name == "Ada!"
    read = again(made)
    assert read == made
    assert read.name == "Ada!"
    assert read._seen == 5
    assert read.data == (1, {2})
    assert read.model_extra == {"more": [dt.date(2024, 1, 1)]}
    assert read.model_fields_set == {"name", "address", "data", "more"}
    assert read.address.model_fields_set == {"street"}


def test_a_model_that_was_never_validated_comes_back_as_it_is() -> None:
    made = Address.model_construct(street=cast("Any", 5))
    read = again(made)
    assert read.street == 5
    assert read.model_dump(warnings=False) == made.model_dump(warnings=False)
    assert read.model_fields_set == made.model_fields_set


def test_times_that_pydantic_has_read_keep_its_own_time_zone() -> None:
    made = Box[dt.datetime].model_validate_json('{"item":"2024-01-01T00:00:00+02:30"}')
    read = again(made)
    assert read == made
    assert type(read.item.tzinfo) is type(made.item.tzinfo)
    assert read.item.utcoffset() == dt.timedelta(hours=2, minutes=30)


def test_addresses_that_pydantic_has_read_come_back() -> None:
    assert again(HttpUrl("http://Example.com/ä?q=1")) == HttpUrl("http://example.com/ä?q=1")
    assert again(Point(AnyUrl("mcp://tool"))).x == AnyUrl("mcp://tool")


def test_a_parametrised_model_comes_back_as_such() -> None:
    made = Box[Address](item=Address(street="Elm"))
    read = again(made)
    assert read == made
    assert type(read) is Box[Address]


def test_a_part_of_a_model_is_refused_by_its_path() -> None:
    made = Customer(name="Ada", data={"lock": [object()]})
    with pytest.raises(Unrecordable) as refused:
        encode_input({"customer": made})
    assert refused.value.subject == "arguments.customer.data.lock[0]"
    made = Customer.model_validate({"name": "Ada", "more": object()})
    with pytest.raises(Unrecordable) as refused:
        encode(made)
    assert refused.value.subject == "value.more"


def test_a_local_model_is_refused() -> None:
    class Local(Address):
        pass

    with pytest.raises(Unrecordable, match="cannot be imported again"):
        encode([Local(street="Elm")])


def test_a_class_that_was_renamed_since_is_told_by_its_name() -> None:
    data = encode(Point(1)).replace(b"Point", b"Pointer")
    with pytest.raises(Unrecordable, match="codec_models:Pointer"):
        decode(data)
    with pytest.raises(Unrecordable, match="none any more"):
        decode(encode(Point(1)).replace(b":Point", b":Colour"))


def test_pydantic_is_not_imported_for_the_asking() -> None:
    program = (
        "import sys, dataclasses\n"
        "from livespan.proto.codec import encode, decode\n"
        "@dataclasses.dataclass\n"
        "class A:\n    x: object\n"
        "assert decode(encode(A((1,)))) == A((1,))\n"
        "try:\n    encode(object())\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Unrecordable\n"
