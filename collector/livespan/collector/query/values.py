"""What DuckDB's values are as JSON. One table for every place where rows leave the collector:

NULL, NaN, infinities                null            BOOLEAN, integers up to 64 bits, FLOAT, DOUBLE   as they are
TIMESTAMP WITH TIME ZONE             "2026-01-31T09:30:00.000000+00:00", always UTC
TIMESTAMP, DATE, TIME                ISO 8601 without an offset
INTERVAL                             ISO 8601 duration, "P3DT4.5S"
DECIMAL, UUID, wider integers        text, so that no digit is lost
BLOB                                 base64
LIST, ARRAY                          list             STRUCT, MAP   object, keys as text
VARCHAR, JSON and all else           text; a JSON column stays the text that it is
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, TypeAlias, cast

__all__ = ["JsonValue", "json_row", "json_value", "unique_names"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

_MOST: Final = 2**63 - 1


def json_value(value: object) -> JsonValue:
    """Return a value fetched from DuckDB as JSON has it."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -_MOST <= value <= _MOST else str(value)
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            at = value.astimezone(UTC) if value.tzinfo is not None else value
            return at.isoformat(timespec="microseconds")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return _duration(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Mapping():
            pairs = cast("Mapping[object, object]", value)
            return {_key(key): json_value(item) for key, item in pairs.items()}
        case list() | tuple():
            return [json_value(item) for item in cast("Sequence[object]", value)]
        case _:
            return str(value)


def json_row(values: Iterable[object]) -> list[JsonValue]:
    """Return the values of a row as JSON has them; most of a row of ours are text or nothing."""
    return [value if value is None or isinstance(value, str) else json_value(value) for value in values]


def unique_names(names: Sequence[str]) -> list[str]:
    """Return column names with repeated ones told apart: `a, a` is `a, a_1`, so that rows may be objects."""
    taken = set(names)
    seen: set[str] = set()
    result: list[str] = []
    for name in names:
        unique, count = name, 0
        while unique in seen or (count and unique in taken):
            count += 1
            unique = f"{name}_{count}"
        seen.add(unique)
        result.append(unique)
    return result


def _key(key: object) -> str:
    value = json_value(key)
    return value if isinstance(value, str) else str(value)


def _duration(value: timedelta) -> str:
    seconds = value.seconds + value.microseconds / 1_000_000
    return f"P{value.days}DT{seconds:g}S"
