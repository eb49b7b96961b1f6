"""The mask: a function of the user's that takes out of records what must not be recorded, before anything is spooled.

    input      JSON of what a call is made with             its digest is taken before: keys are the same with a mask
    error      message, traceback, the value by codec       an error is given back on resume as the mask left it
    metadata   `annotate(metadata=...)`, words of argv      told, never given back
    attribute  texts of foreign spans and of their          told, never given back
               resources (processor.py)
    output     only of calls declared `mask_output=True`    see below

A result must be given back on resume as it was, so it is not shown to the mask. Where a tool or step says
`mask_output=True` it is, and then no record holds it: a resume that comes to that call stops there with
`Unrecordable`, since it must neither be asked again nor be answered with something else. Checkpoints are bytes of the
program's own making and are never shown. Names, tags, session and user are what a run is found by; they are not.

A mask that raises, returns something else than a str, or turns JSON into what is none has masked all of it: a
placeholder is recorded, and it is said once. Nothing that the mask was shown reaches that line.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from livespan.instrumentation.said_once import say_once
from livespan.proto.errors import InvalidInput

__all__ = ["PLACEHOLDER", "Field", "Mask", "Masked", "Masking", "load_mask"]

PLACEHOLDER: Final = "[masked]"


class Field(StrEnum):
    """What of a record a text is."""

    INPUT = "input"
    OUTPUT = "output"
    ERROR = "error"
    METADATA = "metadata"
    ATTRIBUTE = "attribute"


class Masked(NamedTuple):
    """Where a text comes from.

    Attributes:
        name: of the tool, step or scope; of a foreign span's attribute, the attribute.
    """

    field: Field
    name: str


Mask: TypeAlias = Callable[[str, Masked], str]
"""`mask(text, where)` returns the text as it may be recorded. Called on the thread of the call, so it must be quick."""


class Masking:
    """Applies a mask, or none, to what is about to be recorded.

    Args:
        mask: the user's; None leaves everything as it is.
    """

    __slots__ = ("_mask",)

    def __init__(self, mask: Mask | None) -> None:
        self._mask = mask

    def __bool__(self) -> bool:
        return self._mask is not None

    def text(self, text: str, field: Field, name: str) -> str:
        """Return a text as the mask leaves it; where the mask fails, a placeholder."""
        if self._mask is None or not text:
            return text
        try:
            return _text_of(self._mask(text, Masked(field, name)))
        except Exception as error:  # noqa: BLE001 - the border to a user's function: nothing may get past it unmasked
            _say_failed(type(error).__name__)
            return PLACEHOLDER

    def json(self, data: bytes, field: Field, name: str) -> bytes:
        """Return JSON as the mask leaves it; where that is no JSON, a placeholder."""
        if self._mask is None:
            return data
        text = data.decode()
        found = self.text(text, field, name)
        if found == text:
            return data
        masked = found.encode("utf-8", "replace")
        try:
            msgspec.json.decode(masked)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if found != PLACEHOLDER:
                _say_failed("what it made of JSON is none")
            return msgspec.json.encode(PLACEHOLDER)
        return masked


def load_mask(path: str) -> Mask | None:
    """Return the function that `module:function` names; None for "".

    Raises:
        InvalidInput: there is none. A run that was to be masked does not open without its mask.
    """
    if not path:
        return None
    module, _, name = path.partition(":")
    try:
        found: object = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(
            f"the mask {path!r} cannot be loaded: {error}",
            subject="LIVESPAN_MASK",
            hint="Name a function that can be imported: LIVESPAN_MASK=my_agent.privacy:mask.",
        ) from error
    if not callable(found):
        raise InvalidInput(f"{path!r} is no function", subject="LIVESPAN_MASK", hint="Use module:function.")
    return cast("Mask", found)


def _text_of(found: object) -> str:
    """Return what a mask returned, which no type checker may have seen."""
    if isinstance(found, str):
        return found
    raise TypeError


def _say_failed(why: str) -> None:
    say_once("mask", why, f"the mask failed ({why}): {PLACEHOLDER} is recorded in the place of what it was shown")
