"""OTLP's lists and maps as JSON text: what an attribute holds that is neither text, number, truth value nor bytes.

Bytes inside are base64, NaN and the infinities null, an unset value null; of a key that comes twice the last counts,
as everywhere. A value nests at most a hundred deep: protobuf's own parser refuses what is deeper.
"""

from __future__ import annotations

import msgspec
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

__all__ = ["json_text"]


def json_text(value: AnyValue) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(_plain(value)).decode()


def _plain(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    plain: object = getattr(value, kind)
    return plain
