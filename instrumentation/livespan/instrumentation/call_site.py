"""What is the same for every call of one tool, step or model, and what an answer says of itself.

A call site is made once, where a function is decorated or a framework's class is met; its fixed attributes are
serialised then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from livespan.instrumentation.core import InDoubtPolicy
from livespan.proto import attributes as names
from livespan.proto.node import NodeType
from livespan.proto.span import Scalar, attribute_bytes

__all__ = ["CallSite", "Told"]

_OPERATIONS: Final = {NodeType.PROMPT: "chat", NodeType.TOOL: "execute_tool"}


class CallSite(msgspec.Struct, frozen=True):
    """What is the same for every call of one tool, step or model.

    Attributes:
        name: of the tool or step.
        effect: whether it changes the world.
        in_doubt: what to do where an earlier life started it and its outcome is not known.
        not_done_on: error types that say that the effect did not happen.
        fixed: serialised attributes of its records.
        input_name, output_name: attributes that hold what goes in and what comes out.
        as_scope: how it would be declared if it were a scope; "" where the user has declared nothing.
        is_value: it makes a value (a time, an id) and calls nothing.
        mask_output: its result is shown to the mask, and cannot be given back where the mask changed it.
        repeats: it is tried again by itself where it fails (tries.py), so it makes no calls of its own.
    """

    kind: NodeType
    name: str
    effect: bool
    in_doubt: InDoubtPolicy
    not_done_on: tuple[type[BaseException], ...]
    fixed: bytes
    input_name: str
    output_name: str
    as_scope: str = ""
    is_value: bool = False
    mask_output: bool = False
    repeats: bool = False

    @classmethod
    def of(
        cls,
        kind: NodeType,
        name: str,
        *,
        effect: bool,
        in_doubt: InDoubtPolicy,
        not_done_on: tuple[type[BaseException], ...] = (),
        framework: str = "",
        as_scope: str = "",
        is_value: bool = False,
        mask_output: bool = False,
        repeats: bool = False,
    ) -> CallSite:
        """Return a call site with its fixed attributes serialised."""
        fixed: dict[str, Scalar] = {names.NODE_TYPE: kind.value}
        tool = kind is NodeType.TOOL
        if kind in _OPERATIONS:
            fixed[names.OPERATION] = _OPERATIONS[kind]
        if tool:
            fixed[names.TOOL_NAME] = name
        if effect:
            fixed[names.EFFECT] = True
        if framework:
            fixed[names.FRAMEWORK] = framework
        return cls(
            kind,
            name,
            effect,
            in_doubt,
            not_done_on,
            attribute_bytes(fixed),
            names.TOOL_ARGUMENTS if tool else names.INPUT,
            names.TOOL_RESULT if tool else names.OUTPUT,
            as_scope,
            is_value,
            mask_output,
            repeats,
        )


class Told(msgspec.Struct, frozen=True):
    """What an answer says of itself beside its value.

    Attributes:
        attributes: tokens, model, provider and the like, by attribute name.
        issued: ids of the calls that it asks for.
    """

    attributes: Mapping[str, Scalar] = {}
    issued: tuple[str, ...] = ()
