"""Tool calls of Strands: what stands in for the innermost step of the middleware around a tool.

    executor ─▶ the user's middleware ─▶ here ─┬─ agents, hand-offs, tools that work on the agent: entered in every life
                                              ├─ bad arguments: the body is not reached, no call is made
                                              └─ the tool's stream; its last event is its result

Strands makes a message for the model of whatever a tool raises, and hands the error on beside it. Such a call has
failed; the message is recorded with the error, so that the model of a later life reads the same one. A tool that waits
for a person is no end of the effect: it says that the effect was not done.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any, Final, TypeAlias, cast

from livespan.instrumentation.branches import entered
from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Answered, Codec, OpenCall, Request
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.strands_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.strands_scopes import calling_scope
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.instrumentation.session import Session
from livespan.proto.codec import decode, decode_exception, encode, encode_exception

__all__ = ["ToolFailed", "recording_compose"]

_Function: TypeAlias = Callable[..., Any]

_events: Any = import_module("strands.types._events")
_Interrupted: type[Exception] = import_module("strands.interrupt").InterruptException
_STAGE: Final[Any] = import_module("strands.tools.executors._executor").ExecuteToolStage
_RESULT: Final = "__livespan_result__"
_OWN: Final = (
    "strands.agent.",
    "strands.background_tasks.",
    "strands.multiagent.",
    "strands.tools.structured_output.",
    "strands.vended_plugins.",
    "strands._context_manager.",
    "strands.vended_tools.handoff_to_user.",
    "strands.vended_tools.mcp_router.",
    "strands.vended_tools.notebook.",
    "strands.vended_tools.stop.",
    "strands.vended_tools.subagent.",
    "strands.vended_tools.swarm.",
)
"""Where Strands keeps tools that run agents or work on the one that calls them, and do nothing to the world."""


class ToolFailed(Exception):
    """A tool's error, where a later life could not make the error itself again."""


def recording_compose(original: _Function) -> _Function:
    """Return `MiddlewareRegistry.compose`, which ends in a recorded tool call where it is about tools."""

    @functools.wraps(original)
    def compose(self: Any, stage: Any, terminal: Any) -> Any:
        return original(self, stage, functools.partial(_called, terminal) if stage is _STAGE else terminal)

    return compose


def _called(terminal: Any, context: Any) -> Any:
    tool = context.tool
    if tool is None or _is_own(tool) or not _readable(tool, context.tool_use):
        return terminal(context)
    return _recorded(terminal, context)


async def _recorded(terminal: Any, context: Any) -> AsyncIterator[Any]:
    tool_use = context.tool_use
    request = _request(context.tool, tool_use)
    session, scope = calling_scope(request.call_id)
    try:
        begun = session.ask(scope, _site(context.tool), request)
    except _Interrupted as error:
        yield _events.ToolInterruptEvent(tool_use, [error.interrupt])  # type: ignore[attr-defined]  # upstream's field
        return
    except Exception as error:
        result = error.__dict__.pop(_RESULT, None)
        if result is None:
            raise
        yield _events.ToolResultEvent({**result, "toolUseId": request.call_id}, exception=error)
        return
    if isinstance(begun, Answered):
        yield _events.ToolResultEvent(begun.value)
        return
    await session.astart(begun)
    inside = begun.live.inside
    ended = False
    source = terminal(context)
    try:
        while True:
            with entered(inside):
                event = await anext(source, None)
            if event is None:
                break
            if not ended:
                ended = _end(session, begun, event)
            yield event
    except BaseException as error:
        if not ended:
            session.fail(begun, error)
        raise
    finally:
        await source.aclose()
    if not ended:
        session.fail(begun, ToolFailed("the tool ended without a result"))


def _end(session: Session, begun: OpenCall, event: Any) -> bool:
    """End the call by the event, before anybody sees it; return whether it is what ends it."""
    if isinstance(event, _events.ToolInterruptEvent):
        session.fail(begun, _Interrupted(event.interrupts[0]))
        return True
    if not isinstance(event, _events.ToolResultEvent):
        return False
    if event.exception is None:
        session.end(begun, event.tool_result)
    else:
        error = _telling(event.exception, event.tool_result)
        try:
            session.fail(begun, error)
        finally:
            error.__dict__.pop(_RESULT, None)
    return True


def _telling(error: Exception, result: Any) -> Exception:
    """Return an error that a later life can make again, with the message that Strands made of it."""
    error.__dict__[_RESULT] = result
    data = encode_exception(error)
    if data is None or decode_exception(data) is None:
        del error.__dict__[_RESULT]
        error = ToolFailed(f"{type(error).__name__}: {error}")
        error.__dict__[_RESULT] = result
    return error


def _is_own(tool: Any) -> bool:
    function = getattr(tool, "__wrapped__", None)
    module = getattr(function, "__module__", None) or type(tool).__module__
    return f"{module}.".startswith(_OWN)


def _readable(tool: Any, tool_use: Any) -> bool:
    """Return whether the tool's body will be reached: its arguments can be read."""
    about = getattr(tool, "_metadata", None)
    if about is None:
        return True
    try:
        about.validate_input(tool_use.get("input", {}))
    except ValueError:
        return False
    return True


def _site(tool: Any) -> CallSite:
    annotations = getattr(getattr(tool, "mcp_tool", None), "annotations", None)
    # Version 2 of MCP's package spells its fields as Python does.
    says_read = any(getattr(annotations, word, None) is True for word in ("readOnlyHint", "read_only_hint"))
    read = says_read or is_recorded(getattr(tool, "__wrapped__", None))
    return tool_site(tool.tool_name, FRAMEWORK, read=read, not_done_on=(_Interrupted,))


def _request(tool: Any, tool_use: Any) -> Request:
    """Return the call as the model asked for it."""
    given = tool_use.get("input", {})
    call_id = str(tool_use.get("toolUseId") or "")
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((given,), {})
    if isinstance(given, dict):
        # A program that calls the tool by itself may hand it more: the agent, a state.
        schema: dict[str, Any] = tool.tool_spec.get("inputSchema", {})
        words = cast("dict[str, Any]", given)
        known: dict[str, Any] = schema.get("json", schema).get("properties") or words
        given = {word: value for word, value in words.items() if word in known}
        arguments = ((), given)
    return Request(given, None, call_id, arguments, Codec(encode, functools.partial(_decode, tool, call_id)))


def _decode(tool: Any, call_id: str, data: bytes) -> Any:
    result: Any = decode(data)
    if isinstance(result, dict) and "status" in result and "content" in result:
        # An id of the program's own making, which took no part in the call's key, may be another one in this life.
        return {**cast("dict[str, Any]", result), "toolUseId": call_id}
    # A probe, or a person who resolves, gives what the tool's function would have returned.
    wrap = getattr(tool, "_wrap_tool_result", None)
    if wrap is not None:
        return wrap(call_id, result).tool_result
    return {"toolUseId": call_id, "status": "success", "content": [{"text": str(cast("object", result))}]}
