"""Tool calls of crewAI: what stands in for `run` and `arun` of its tools, and for `invoke` and `ainvoke` of what it
makes of them for models that call tools by text.

    native call ─▶ BaseTool.run ────────────┬─ bad arguments, or used too often: no call is made, and none is recorded
    call by text ─▶ CrewStructuredTool.invoke ─┴─ session.call ─▶ the tool's function

A tool is an effect unless it is declared a read (tool_sites.py). Those by which an agent hands work to another one are
scopes. A call from the record counts as a use of the tool. What the cache of a crew answers is recorded, too: which of
two equal calls beside each other finds the other's result there depends on who ended first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final, TypeAlias

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Request
from livespan.instrumentation.core import FAIL
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.crewai_scopes import CALL_ID, FRAMEWORK, calling_scope, scoped
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.proto.node import NodeType

__all__ = [
    "recording_ainvoke",
    "recording_arun",
    "recording_invoke",
    "recording_read",
    "recording_run",
    "telling_id",
    "telling_id_of",
]

_Function: TypeAlias = Callable[..., Any]

_READS: Final = ("AddImageTool", "DeferredToolResultReader", "ReadFileTool", "RecallMemoryTool")
"""The framework's own tools that change nothing."""
_CACHE: Final = CallSite.of(
    NodeType.MEMORY, "crewai.cache", effect=False, in_doubt=FAIL, framework=FRAMEWORK, is_value=True
)
_RUNNING: Final[ContextVar[object]] = ContextVar("livespan_crewai_tool", default=None)


def recording_run(original: _Function) -> _Function:
    """Return `run`, recorded."""

    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _call(self, lambda: _arguments(self, args, kwargs), lambda: original(self, *args, **kwargs))

    return run


def recording_arun(original: _Function) -> _Function:
    """Return `arun`, recorded."""

    @functools.wraps(original)
    async def arun(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await _acall(self, lambda: _arguments(self, args, kwargs), lambda: original(self, *args, **kwargs))

    return arun


def recording_invoke(original: _Function) -> _Function:
    """Return `invoke`, recorded."""

    @functools.wraps(original)
    def invoke(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002 - its own word
        # The config tells who calls, with times and ids, and goes nowhere.
        return _call(
            self, lambda: {**self._parse_args(input), **kwargs}, lambda: original(self, input, config, **kwargs)
        )

    return invoke


def recording_ainvoke(original: _Function) -> _Function:
    """Return `ainvoke`, recorded."""

    @functools.wraps(original)
    async def ainvoke(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002 - its own word
        # The config tells who calls, with times and ids, and goes nowhere.
        return await _acall(
            self, lambda: {**self._parse_args(input), **kwargs}, lambda: original(self, input, config, **kwargs)
        )

    return ainvoke


def recording_read(original: _Function) -> _Function:
    """Return `read` of a crew's cache, recorded."""

    @functools.wraps(original)
    def read(self: Any, tool: str, input: str) -> Any:  # noqa: A002 - its own word
        session, scope = calling_scope()
        request = Request({"tool": tool, "input": input})
        return session.call(scope, _CACHE, request, lambda: original(self, tool, input))

    return read


def telling_id(original: _Function) -> _Function:
    """Return `_execute_single_native_tool_call`, which tells the tool the id of the call."""

    @functools.wraps(original)
    def _execute_single_native_tool_call(self: Any, tool_call: Any) -> Any:
        token = CALL_ID.set(_id_of(tool_call))
        try:
            return original(self, tool_call)
        finally:
            CALL_ID.reset(token)

    return _execute_single_native_tool_call


def telling_id_of(original: _Function) -> _Function:
    """Return `execute_single_native_tool_call`, which tells the tool the id of the call."""

    @functools.wraps(original)
    def execute_single_native_tool_call(tool_call: Any, *args: Any, **kwargs: Any) -> Any:
        token = CALL_ID.set(_id_of(tool_call))
        try:
            return original(tool_call, *args, **kwargs)
        finally:
            CALL_ID.reset(token)

    return execute_single_native_tool_call


def _id_of(tool_call: Any) -> str:
    info = import_module("crewai.utilities.agent_utils").extract_tool_call_info(tool_call)
    return str(info[0]) if info and info[0] else ""


class _Call:
    """One call of a tool, from whichever of its doors."""

    def __init__(self, tool: Any, given: dict[str, Any]) -> None:
        self.tool = tool
        self.made = False
        self.request = Request(given, None, CALL_ID.get(), ((), given))
        self.session, self.scope = calling_scope(self.request.call_id)
        self.site = _site(tool)

    def entering(self) -> Any:
        """Return what the body runs in: it is this tool's, and the id is taken."""
        self.made = True
        return _Taken(_original(self.tool))

    def counted(self, result: Any) -> Any:
        """Return the result; one from the record is a use of the tool as it was when it was made."""
        if not self.made:
            if hasattr(self.tool, "_claim_usage"):
                self.tool._claim_usage()  # noqa: SLF001 - what `run` itself does
            else:
                self.tool._increment_usage_count()  # noqa: SLF001 - what `invoke` itself does
        return result


class _Taken:
    """A block in which a tool runs under no id."""

    def __init__(self, tool: Any) -> None:
        self._tool = tool

    def __enter__(self) -> None:
        self._tokens = (_RUNNING.set(self._tool), CALL_ID.set(""))

    def __exit__(self, *_error: object) -> None:
        running, call_id = self._tokens
        CALL_ID.reset(call_id)
        _RUNNING.reset(running)


def _call(tool: Any, read: Callable[[], dict[str, Any]], run: _Function) -> Any:
    if _hands_on(tool):
        with scoped(tool.name), _Taken(None):
            return run()
    given = _given(tool, read)
    if given is None:
        return run()
    call = _Call(tool, given)

    def body() -> Any:
        with call.entering():
            return run()

    return call.counted(call.session.call(call.scope, call.site, call.request, body))


async def _acall(tool: Any, read: Callable[[], dict[str, Any]], run: _Function) -> Any:
    if _hands_on(tool):
        with scoped(tool.name), _Taken(None):
            return await run()
    given = _given(tool, read)
    if given is None:
        return await run()
    call = _Call(tool, given)

    async def body() -> Any:
        with call.entering():
            return await run()

    return call.counted(await call.session.acall(call.scope, call.site, call.request, body))


def _given(tool: Any, read: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return the arguments; None where the tool's body is reached already, or will not be."""
    if _RUNNING.get() is _original(tool):
        return None
    if tool.max_usage_count is not None and tool.current_usage_count >= tool.max_usage_count:
        return None
    try:
        return read()
    except ValueError:
        return None


def _arguments(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, as `run` reads them."""
    if not args:
        read: dict[str, Any] = tool._validate_kwargs(kwargs)  # noqa: SLF001 - what `run` itself does first
        return read
    fields: list[str] = list(tool.args_schema.model_fields) if tool.args_schema is not None else []
    return dict(zip(fields, args, strict=False)) | kwargs


def _original(tool: Any) -> Any:
    """Return the tool that one was made of for models that call tools by text."""
    return getattr(tool, "_original_tool", None) or tool


def _hands_on(tool: Any) -> bool:
    kind: Any = import_module("crewai.tools.agent_tools.base_agent_tools").BaseAgentTool
    return isinstance(_original(tool), kind)


def _site(tool: Any) -> CallSite:
    made_of = _original(tool)
    own = type(made_of).__module__.startswith("crewai.") and type(made_of).__name__ in _READS
    functions = [getattr(made_of, word, None) for word in ("func", "_run", "_arun")]
    return tool_site(made_of.name, FRAMEWORK, read=own or any(is_recorded(function) for function in functions))
