"""The codecs of the standard library's values. Importing this module registers them.

What they write is made for reading in SQL: dates in ISO 8601, decimals and UUIDs as text, durations
in parts. A date with something that ISO 8601 cannot say (a zone by name, a named offset, the second
of two equal wall times) is written in parts.
"""

from __future__ import annotations

import datetime as dt
from base64 import b64decode, b64encode
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from livespan.proto.codec.registry import register_codec
from livespan.proto.errors import Unrecordable

__all__ = ["integer_text"]

_DECIMAL_BITS: Final = 4096
"""Python refuses to convert longer integers from and to decimal text (sys.set_int_max_str_digits).
"""


def integer_text(value: int) -> str:
    """Return an integer of any size as text that `int(text, 0)` reads: decimal, or hex where it is
    very long.
    """
    return str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)


def _is_iso(value: dt.datetime | dt.time) -> bool:
    zone = value.tzinfo
    if value.fold or not (zone is None or type(zone) is dt.timezone):
        return False
    if zone is None:
        return True
    # A named offset has its name among the arguments that pickle and copy use; there is no public door to it. An
    # offset of less than a second is read back as UTC by `fromisoformat` (CPython 3.11).
    unnamed = len(zone.__getinitargs__()) == 1  # type: ignore[attr-defined]  # typeshed has it not
    return unnamed and not zone.utcoffset(None).microseconds


def _datetime_to_json(value: dt.datetime) -> object:
    if _is_iso(value):
        return value.isoformat()
    return {"at": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": value.tzinfo}


def _datetime_from_json(data: Any) -> dt.datetime:
    if isinstance(data, str):
        return dt.datetime.fromisoformat(data)
    at = dt.datetime.fromisoformat(data["at"])
    return at.replace(fold=data["fold"], tzinfo=data["zone"])


def _time_to_json(value: dt.time) -> object:
    if _is_iso(value):
        return value.isoformat()
    return {"at": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": value.tzinfo}


def _time_from_json(data: Any) -> dt.time:
    if isinstance(data, str):
        return dt.time.fromisoformat(data)
    return dt.time.fromisoformat(data["at"]).replace(fold=data["fold"], tzinfo=data["zone"])


def _timezone_to_json(value: dt.timezone) -> object:
    return list(value.__getinitargs__())  # type: ignore[attr-defined]  # as above


def _zone_to_json(value: ZoneInfo) -> object:
    if value.key is None:  # pyright: ignore[reportUnnecessaryComparison]  # from_file without a key
        raise Unrecordable("a ZoneInfo without a key cannot be found again")
    return value.key


def _default_factory_to_json(value: defaultdict[Any, Any]) -> object:
    return {"factory": value.default_factory, "items": dict(value)}


def _default_factory_from_json(data: Any) -> defaultdict[Any, Any]:
    return defaultdict(data["factory"], data["items"])


def _deque_to_json(value: deque[Any]) -> object:
    return {"items": list(value), "max": value.maxlen}


def _deque_from_json(data: Any) -> deque[Any]:
    return deque(data["items"], data["max"])


def _ordered_to_json(value: OrderedDict[Any, Any]) -> object:
    return [[key, item] for key, item in value.items()]


def _windows_path_to_json(value: PureWindowsPath) -> str:
    text = str(value)
    if PureWindowsPath(text) != value:  # `PureWindowsPath("//://")` is one: half a share's name
        raise Unrecordable("the text of this path reads as another path", hint="Record it as a str.")
    return text


def _bytes_from_json(data: Any) -> bytes:
    return b64decode(data, validate=True)


register_codec(tuple, "tuple", list, tuple)
register_codec(bytes, "bytes", lambda v: b64encode(v).decode(), _bytes_from_json)
register_codec(
    bytearray,
    "bytearray",
    lambda v: b64encode(v).decode(),
    lambda d: bytearray(_bytes_from_json(d)),
)
register_codec(complex, "complex", lambda v: [v.real, v.imag], lambda d: complex(*d))
register_codec(range, "range", lambda v: [v.start, v.stop, v.step], lambda d: range(*d))
register_codec(Decimal, "decimal", str, Decimal)
register_codec(UUID, "uuid", str, UUID)
register_codec(dt.datetime, "datetime", _datetime_to_json, _datetime_from_json)
register_codec(dt.date, "date", dt.date.isoformat, dt.date.fromisoformat)
register_codec(dt.time, "time", _time_to_json, _time_from_json)
register_codec(
    dt.timedelta,
    "timedelta",
    lambda v: [v.days, v.seconds, v.microseconds],
    lambda d: dt.timedelta(*d),
)
register_codec(dt.timezone, "timezone", _timezone_to_json, lambda d: dt.timezone(*d))
register_codec(ZoneInfo, "zoneinfo", _zone_to_json, ZoneInfo)
register_codec(PosixPath, "path", str, PosixPath)
register_codec(PurePosixPath, "pureposixpath", str, PurePosixPath)
register_codec(PureWindowsPath, "purewindowspath", _windows_path_to_json, PureWindowsPath)
register_codec(OrderedDict, "ordereddict", _ordered_to_json, OrderedDict)
register_codec(Counter, "counter", dict, Counter)
register_codec(defaultdict, "defaultdict", _default_factory_to_json, _default_factory_from_json)
register_codec(deque, "deque", _deque_to_json, _deque_from_json)
