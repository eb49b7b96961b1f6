"""Values as JSON text. What is JSON already stays as it stands, digit for digit."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["is_json", "json_text", "parsed", "verbatim"]


def is_json(text: str) -> bool:
    """Return whether a text is one JSON value."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def json_text(value: object, *, declared: bool = False) -> str:
    """Return a value as JSON text; None is "".

    A text that is a JSON object or list stays as it is. Any other text is a string, and is quoted: the answer of a
    tool may well be `42` or `true`; only where the span declares it to be JSON it is taken for it. "" also stands for
    what is nested deeper than Python's stack: it stays in the span's own bytes.
    """
    if value is None:
        return ""
    if isinstance(value, str) and (declared or value.lstrip()[:1] in ("{", "[")) and is_json(value):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return ""


def verbatim(text: str) -> msgspec.Raw | str:
    """Return a JSON object or list as it stands, to be put into other JSON; other text as it is."""
    return msgspec.Raw(text.encode()) if text.lstrip()[:1] in ("{", "[") and is_json(text) else text


def parsed(value: object) -> Any:
    """Return what a JSON text says; anything else, and a text that is no JSON, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return value
