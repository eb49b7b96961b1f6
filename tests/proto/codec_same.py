"""Equality as the law of the codecs means it."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from typing import Any, cast

from tests.proto.codec_models import (
    Card,
    Point,
)


def same(left: Any, right: Any) -> bool:
    """Say whether two values are equal, types included; NaN equals itself, -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    kind: Any = cast("Any", type(left))
    if kind is float:
        return math.isnan(left) == math.isnan(right) and (math.isnan(left) or repr(left) == repr(right))
    if kind is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if kind is Decimal:
        return repr(left) == repr(right)
    if kind in (dt.datetime, dt.time):
        return left.replace(tzinfo=None) == right.replace(tzinfo=None) and (
            left.fold == right.fold and same(left.tzinfo, right.tzinfo)
        )
    if kind is dt.timezone:
        return repr(left) == repr(right)
    if kind in (list, deque) or issubclass(kind, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if kind in (dict, OrderedDict, defaultdict, Counter):
        # Order counts: a result's dict goes back to the program.
        return same([[*pair] for pair in left.items()], [[*pair] for pair in right.items()])
    if kind in (set, frozenset):
        rest = list(right)
        for item in left:
            twin = next((index for index, other in enumerate(rest) if same(item, other)), None)
            if twin is None:
                return False
            del rest[twin]
        return not rest
    if kind in (Point, Card):
        return all(same(getattr(left, n), getattr(right, n)) for n in kind.__match_args__)
    return bool(left == right)
