"""Values as JSON, and back: what agents pass and get, in a form that anyone can read and a later
life can have again.

The law: `decode(encode(x)) == x`, type included, for every value that a codec holds. There is no
pickle. What no codec holds is refused by its path and type (`Unrecordable`) while it is written;
nothing is decoded to find out.

    plain JSON       str, int of 64 bits, finite float, bool, None, list, dict with str keys
    anything else    {"$type": NAME, "value": ...}                  built-in, or registered by type
                     {"$type": KIND, "class": REF, "value": ...}    by its class's import path

A plain dict that has a key "$type" is itself tagged, so no value can pass for another. Only exact
types count: a subclass of str is not a str. Where a value stands twice in a structure it comes back
as two equal values.

    plain.py       which structures are plain JSON as they stand: the fast path
    registry.py    codecs by exact type, and `register_codec`
    values.py      the codecs of the standard library's values
    classes.py     a class as text, and back
    kinds.py       enums, dataclasses, named tuples, structs, pydantic models
    exceptions.py  exceptions: the same type and arguments, without running their `__init__`
    write.py       value to JSON
    read.py        JSON to value
"""

from __future__ import annotations

from livespan.proto.codec.read import decode, decode_exception
from livespan.proto.codec.registry import identify_without, register_codec
from livespan.proto.codec.write import MAX_DEPTH, encode, encode_exception, encode_identity, encode_input

__all__ = [
    "MAX_DEPTH",
    "decode",
    "decode_exception",
    "encode",
    "encode_exception",
    "encode_identity",
    "encode_input",
    "identify_without",
    "register_codec",
]
