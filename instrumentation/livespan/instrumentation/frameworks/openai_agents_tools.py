"""Calls of function tools of the OpenAI Agents SDK: what stands in for the one function by which its runner invokes
them.

    runner ─▶ approval, guardrails ─▶ invoke ─┬─ bad arguments: no call is made, and none is recorded
                                              └─ session.acall ─▶ timeout ─▶ the tool ─▶ text of its error

A call that waits for a person's approval does not come here. What the SDK makes of an error or of a timeout for the
model is the result, and comes back the same. An agent as a tool is no call: it is entered in every life, and its own
run is a scope.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from agents.exceptions import ModelBehaviorError, UserError
from agents.tool import _FunctionToolInvocationResult  # pyright: ignore[reportPrivateUsage]  # what `invoke` returns

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.core import Scope
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.agent_runs import calling_scope
from livespan.instrumentation.frameworks.openai_agents_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.instrumentation.session import Session
from livespan.proto.codec import decode, encode

__all__ = ["ToldError", "recording_invoke"]

_Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ToldError:
    """What the SDK itself tells the model where a tool has failed; it is not held against the tool's output schema."""

    output: Any


def recording_invoke(original: _Function) -> _Function:
    """Return `_invoke_function_tool_with_metadata`, recorded."""

    @functools.wraps(original)
    async def invoke(*, function_tool: Any, context: Any, arguments: str) -> Any:
        def body() -> Any:
            return original(function_tool=function_tool, context=context, arguments=arguments)

        given = _read(function_tool, arguments)
        if given is None:
            return await body()
        call_id: str = getattr(context, "tool_call_id", "") or ""
        session, scope = calling_scope(call_id)
        if getattr(function_tool, "_is_agent_tool", False):
            with _entered_tool(session, scope, function_tool.name, call_id):
                return await body()
        request = Request(given, None, call_id, ((), given), Codec(_encode_result, _decode_result))
        return await session.acall(scope, _site(function_tool), request, body)

    return invoke


@contextmanager
def _entered_tool(session: Session, around: Scope, name: str, call_id: str) -> Generator[None]:
    """Enter the scope of an agent as a tool. Those that run beside each other are told apart by the ids of the calls,
    where the model gave these; else by the branch in which each is made.
    """
    scope = session.enter(around, f"{name}[{call_id}]" if call_id in around.claims.known else name)
    try:
        with entered(scope):
            yield
    except BaseException as error:
        session.leave(scope, error)
        raise
    session.leave(scope, None)


def _site(tool: Any) -> CallSite:
    hints = getattr(tool, "mcp_annotations", None)
    said = getattr(hints, "read_only_hint", None) or getattr(hints, "readOnlyHint", None)
    read = said is True or is_recorded(getattr(tool, "__wrapped__", None))
    return tool_site(str(tool.name), FRAMEWORK, read=read)


def _read(tool: Any, arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments, or None where the tool's body will not be reached with them."""
    try:
        given: object = json.loads(arguments) if arguments else {}
    except ValueError:
        return None
    if not isinstance(given, dict):
        return None
    prepare = _preparation(tool)
    if prepare is not None:
        try:
            prepare(arguments, tool.name)
        except (ModelBehaviorError, UserError):
            return None
    return cast("dict[str, Any]", given)


def _preparation(tool: Any) -> _Function | None:
    """Return what a decorated function's tool reads its arguments with; None where it cannot be told, and the body is
    taken to be reached.
    """
    inspected = getattr(getattr(tool.on_invoke_tool, "_invoke_tool_impl", None), "__agents_prepare_arguments__", None)
    if not inspect.isfunction(inspected):
        return None
    prepare = inspect.getclosurevars(inspected).nonlocals.get("_prepare_arguments")
    return prepare if callable(prepare) else None


def _encode_result(result: Any) -> bytes:
    if not isinstance(result, _FunctionToolInvocationResult):
        # A probe gives what the tool itself would have returned, and so does a person who resolves.
        return encode(result)
    return encode(ToldError(result.output) if result.is_sdk_generated_error else result.output)


def _decode_result(data: bytes) -> Any:
    value = decode(data)
    if isinstance(value, ToldError):
        return _FunctionToolInvocationResult(value.output, is_sdk_generated_error=True)
    return _FunctionToolInvocationResult(value)
