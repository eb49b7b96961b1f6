"""Calls of Pydantic AI's tools: a capability that wraps the toolset of a run, below all hooks of tools.

    model's call ─▶ arguments validated ─▶ approval, hooks ─▶ call_tool ─▶ session.acall ─▶ the tool

So a call whose arguments are wrong, or that waits for a person, does not come here. A tool that asks for approval
itself, or puts the call off, has not done its work. An output function is a tool too: it runs on what the model gave at
the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from pydantic_ai.toolsets import AbstractToolset, WrapperToolset
from pydantic_core import to_jsonable_python

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Request
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.agent_runs import calling_scope
from livespan.instrumentation.frameworks.pydantic_ai_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.tool_sites import tool_site

__all__ = ["RecordTools"]

_NOT_DONE_ON: Final = (ApprovalRequired, CallDeferred)


@dataclass
class RecordTools(AbstractCapability[Any]):
    """Records the tool calls and output functions of the run that it is given to."""

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Return the toolset, recorded."""
        return _RecordedToolset(toolset)

    async def wrap_output_process(self, ctx: Any, *, output_context: Any, output: Any, handler: Any) -> Any:
        """Record an output function, but where it is shown a part of a stream."""
        if not output_context.has_function or ctx.partial_output:
            return await handler(output)
        call_id = output_context.tool_call.tool_call_id if output_context.tool_call is not None else ""
        session, scope = calling_scope(call_id)
        site = tool_site(output_context.function_name or "output", FRAMEWORK, read=False, not_done_on=_NOT_DONE_ON)
        request = Request(to_jsonable_python(output), None, call_id, ((output,), {}))
        return await session.acall(scope, site, request, lambda: handler(output))


@dataclass
class _RecordedToolset(WrapperToolset[Any]):
    """A toolset whose calls are recorded."""

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        call_id: str = ctx.tool_call_id or ""
        session, scope = calling_scope(call_id)
        request = Request(to_jsonable_python(tool_args), None, call_id, ((), tool_args))
        return await session.acall(
            scope, _site(name, tool), request, lambda: self.wrapped.call_tool(name, tool_args, ctx, tool)
        )


def _site(name: str, tool: Any) -> CallSite:
    metadata = cast("dict[str, Any]", tool.tool_def.metadata or {})
    hints = cast("dict[str, Any]", metadata.get("annotations") or {})
    read = hints.get("readOnlyHint") is True or is_recorded(_function(tool))
    return tool_site(name, FRAMEWORK, read=read, not_done_on=_NOT_DONE_ON)


def _function(tool: Any) -> object:
    """Return the function that a tool runs; None where it runs none of the program's."""
    while (source := getattr(tool, "source_tool", None)) is not None:
        tool = source
    schema = getattr(getattr(tool, "call_func", None), "__self__", None)
    return getattr(schema, "function", None)
