"""Tool calls of LangChain: what stands in for `BaseTool.run` and `arun`, of which every call reaches exactly one.

    ToolNode, create_agent, tool.invoke in a node ─▶ run ─┬─ bad arguments: no call is made, and none is recorded
                                                          └─ session.call ─▶ the tool's function

A tool is an effect unless it is declared a read (tool_sites.py). Where its function is recorded by a decorator of
ours, effect and policy are that function's, and the tool around it is entered again until it has ended. An error is
an outcome: it is raised again on resume, so that whoever makes a message of it makes the same one. What LangGraph
raises through a tool to wait for a person or to go elsewhere is no end of the effect: it says that the effect was not
done.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException
from langchain_core.tools.base import _format_output  # pyright: ignore[reportPrivateUsage]  # what `run` itself ends with
from langgraph.errors import GraphBubbleUp

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.langchain_answers import Outcome, recorded_tool
from livespan.instrumentation.frameworks.langchain_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.langgraph_scopes import calling_scope
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.proto.codec import decode, encode, register_codec
from livespan.proto.errors import LivespanError

__all__ = ["hold_types", "recording_arun", "recording_run"]

_Function: TypeAlias = Callable[..., Any]
_T = TypeVar("_T")
_S = TypeVar("_S", bound=str)

_BAD_ARGUMENTS: Final = (ValueError, TypeError, ToolException)
"""What reading arguments raises; pydantic's ValidationError is a ValueError."""
_NOT_DONE_ON: Final = (GraphBubbleUp,)
_held: Final[set[type]] = set()


def recording_run(original: _Function) -> _Function:
    """Return `run`, recorded."""

    @functools.wraps(original)
    def run(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        if not _readable(self, tool_input, kwargs):
            return original(self, tool_input, *args, **kwargs)
        request = _request(self, tool_input, kwargs)
        session, scope = calling_scope(request.call_id)
        made: list[bool] = []

        def make() -> Any:
            made.append(True)
            return original(self, tool_input, *args, **kwargs)

        try:
            outcome = Outcome(session.call(scope, _site(self), request, make))
        except Exception as error:
            if made or isinstance(error, LivespanError):
                raise
            outcome = Outcome(error=error)
        return outcome.value if made else original(recorded_tool(self, outcome), tool_input, *args, **kwargs)

    return run


def recording_arun(original: _Function) -> _Function:
    """Return `arun`, recorded."""

    @functools.wraps(original)
    async def arun(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        if not _readable(self, tool_input, kwargs):
            return await original(self, tool_input, *args, **kwargs)
        request = _request(self, tool_input, kwargs)
        session, scope = calling_scope(request.call_id)
        made: list[bool] = []

        def make() -> Any:
            made.append(True)
            return original(self, tool_input, *args, **kwargs)

        try:
            outcome = Outcome(await session.acall(scope, _site(self), request, make))
        except Exception as error:
            if made or isinstance(error, LivespanError):
                raise
            outcome = Outcome(error=error)
        return outcome.value if made else await original(recorded_tool(self, outcome), tool_input, *args, **kwargs)

    return arun


def hold_types(send: type[_T], text: type[_S]) -> None:
    """Let `Send`, which a tool's Command may hold, and `TextAccessor`, which a message's `text` is, be recorded: they
    are no classes of a kind that is held by itself.
    """
    if send not in _held:
        register_codec(send, "langgraph.send", _send_to_json, lambda parts: send(*parts))
        register_codec(text, "langchain.text", str, text)
        _held.update((send, text))


def _send_to_json(value: Any) -> object:
    return [value.node, value.arg]


def _readable(tool: BaseTool, tool_input: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether the tool's body will be reached: its arguments can be read."""
    given = dict(cast("dict[str, Any]", tool_input)) if isinstance(tool_input, dict) else tool_input
    try:
        tool._to_args_and_kwargs(given, kwargs.get("tool_call_id"))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # what `run` itself does first
    except _BAD_ARGUMENTS:
        return False
    return True


def _site(tool: BaseTool) -> CallSite:
    read = bool((tool.metadata or {}).get("readOnlyHint")) or any(
        is_recorded(getattr(tool, word, None)) for word in ("func", "coroutine")
    )
    return tool_site(tool.name, FRAMEWORK, read=read, not_done_on=_NOT_DONE_ON)


def _request(tool: BaseTool, tool_input: Any, kwargs: dict[str, Any]) -> Request:
    """Return the call as the model asked for it: without what the framework put among its arguments."""
    if isinstance(tool_input, dict):
        given = tool._filter_injected_args(cast("dict[str, Any]", tool_input))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # which these are only it knows
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), given)
    else:
        given = tool_input
        arguments = ((given,), {})
    call_id: str = kwargs.get("tool_call_id") or ""
    return Request(given, None, call_id, arguments, Codec(encode, functools.partial(_decode, tool, call_id)))


def _decode(tool: BaseTool, call_id: str, data: bytes) -> Any:
    result = decode(data)
    if call_id:
        # A probe, or a person who resolves, gives what the tool's function would have returned; `run` returns a message
        # of it. What `run` itself returned passes unchanged.
        content, artifact = result, None
        if tool.response_format == "content_and_artifact" and isinstance(result, (tuple, list)):
            parts = list(cast("tuple[Any, ...]", result))
            if len(parts) == 2:
                content, artifact = parts
        result = _format_output(content, artifact, call_id, tool.name, "success")
    if call_id and type(result) is ToolMessage and result.tool_call_id != call_id:
        # An id of the program's own making, which took no part in the call's key, may be another one in this life.
        result.tool_call_id = call_id
    return result
