"""Classes whose values the codec tests record: a class of a function would have no lasting name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum, Flag, IntEnum, StrEnum, auto
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

T = TypeVar("T")


class Colour(Enum):
    RED = (1, 2)
    BLUE = "blue"


class Word(StrEnum):
    YES = "yes"


class Level(IntEnum):
    LOW = 1


class Access(Flag):
    READ = auto()
    WRITE = auto()


@dataclass
class Point:
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Card:
    number: Any
    __secret: Any = 7  # pyright: ignore[reportGeneralTypeIssues]  # slots mangle such names
    tags: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        if self.number == "made":
            raise ValueError("a card is made once")


@dataclass
class Doubled:
    """Its __init__ changes what it is given, so running it again would change the value."""

    size: int
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.size *= 2
        self.total = self.size + 1


@dataclass
class Bag(dict[str, int]):
    label: str = ""


class Pair(NamedTuple):
    left: Any
    right: Any = None


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    name: Any
    size: int = 3


class Normal(msgspec.Struct):
    size: int

    def __post_init__(self) -> None:
        self.size += 1


class Address(BaseModel):
    model_config = ConfigDict(frozen=True)
    street: str
    floor: int | None = None


class Customer(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    name: str
    address: Address | None = None
    data: Any = None
    _seen: int = PrivateAttr(default=0)

    @field_validator("name")
    @classmethod
    def upper(cls, value: str) -> str:
        return value + "!"


class Box(BaseModel, Generic[T]):
    item: T


class Loud(Exception):  # its name is no concern of the test
    def __init__(self, *, code: int, peer: object = None) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.peer = peer


class Quiet(OSError):
    __slots__ = ("detail",)
    detail: tuple[int, ...]


@dataclasses.dataclass
class Told(Exception):
    what: str


class Temperature:
    def __init__(self, kelvin: float) -> None:
        self.kelvin = kelvin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Temperature) and other.kelvin == self.kelvin

    def __hash__(self) -> int:
        return hash(self.kelvin)
