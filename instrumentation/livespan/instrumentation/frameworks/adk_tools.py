"""Tool calls of ADK: what stands in for `BaseTool.run_async` of every tool class.

    agent ─▶ callbacks, plugins ─▶ run_async ─┬─ agents, transfers, exits: entered in every life
                                              ├─ bad arguments, no approval: the body is not reached, no call is made
                                              └─ session.acall ─▶ the tool

What a tool does to its context (state, artifacts, an escalation) is recorded with its result, and done again where the
result comes from the record. Ids that ADK draws itself take no part in a call's key, as no answer issued them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, TypeAlias, cast

from livespan.instrumentation.call_site import CallSite
from livespan.instrumentation.calls import Codec, Request
from livespan.instrumentation.decorators import is_recorded
from livespan.instrumentation.frameworks.adk_prompts import FRAMEWORK
from livespan.instrumentation.frameworks.adk_scopes import calling_scope
from livespan.instrumentation.frameworks.tool_sites import tool_site
from livespan.proto.codec import decode, encode

__all__ = ["Acted", "recording_run"]

_Function: TypeAlias = Callable[..., Any]

_Actions: Any = import_module("google.adk.events.event_actions").EventActions
_OWN: Final = (
    "google.adk.agents.",
    "google.adk.tools._node_tool.",
    "google.adk.tools._request_input_tool.",
    "google.adk.tools.agent_tool.",
    "google.adk.tools.exit_loop_tool.",
    "google.adk.tools.get_user_choice_tool.",
    "google.adk.tools.google_search_agent_tool.",
    "google.adk.tools.load_artifacts_tool.",
    "google.adk.tools.set_model_response_tool.",
    "google.adk.tools.transfer_to_agent_tool.",
)
"""Where ADK keeps tools that run agents or work on the run itself, and do nothing to the world."""
_READS: Final = ("google.adk.tools.load_memory_tool.", "google.adk.tools.retrieval.")
_running: Final[ContextVar[object]] = ContextVar("livespan_adk_tool", default=None)
"""The tool whose call is recorded: its classes hand the call on to one another."""


@dataclass(frozen=True, slots=True)
class Acted:
    """The result of a tool that also acted on its context."""

    result: Any
    actions: dict[str, Any] = field(default_factory=dict[str, Any])


def recording_run(original: _Function) -> _Function:
    """Return `run_async`, recorded."""

    @functools.wraps(original)
    async def run_async(self: Any, *, args: Any, tool_context: Any, **kwargs: Any) -> Any:
        ran = False

        async def body() -> Any:
            nonlocal ran
            ran = True
            token = _running.set(self)
            try:
                result = await original(self, args=args, tool_context=tool_context, **kwargs)
            finally:
                _running.reset(token)
            actions = tool_context.actions.model_dump(mode="json", exclude_defaults=True)
            return Acted(result, actions) if actions else result

        if _running.get() is self or _is_own(self) or not await _reaches_body(self, args, tool_context):
            return await original(self, args=args, tool_context=tool_context, **kwargs)
        call_id = str(tool_context.function_call_id or "")
        session, scope = calling_scope(call_id)
        request = Request(args, None, call_id, ((), args), Codec(encode, decode))
        outcome = await session.acall(scope, _site(self), request, body)
        if not isinstance(outcome, Acted):
            return outcome
        if not ran:
            _act_again(tool_context, outcome.actions)
        return outcome.result

    return run_async


def _act_again(tool_context: Any, recorded: dict[str, Any]) -> None:
    """Do to a tool's context what the tool did when it ran."""
    actions = _Actions.model_validate(recorded)
    for name in recorded:
        done = getattr(actions, name)
        if name == "state_delta":
            tool_context.state.update(done)
        elif isinstance(done, dict):
            getattr(tool_context.actions, name).update(cast("dict[str, Any]", done))
        else:
            setattr(tool_context.actions, name, done)


def _is_own(tool: Any) -> bool:
    return _home(tool).startswith(_OWN)


def _home(tool: Any) -> str:
    """Return the module that a tool's function, or its class, comes from."""
    return (getattr(getattr(tool, "func", None), "__module__", None) or type(tool).__module__) + "."


async def _reaches_body(tool: Any, args: Any, tool_context: Any) -> bool:
    """Return whether a function tool will call its function: it reads its arguments and asks for approval first."""
    if not hasattr(tool, "func"):
        return True
    # Versions that check no types have one function less, and no question for approval that can be asked by itself.
    read = getattr(tool, "_preprocess_args_with_validation", None)
    given: Any = args
    faults: Any = None
    if read is not None:
        given, faults = read(args)
    needed = set(tool._get_mandatory_args()).difference(tool._ignore_params)  # noqa: SLF001 - what `run_async` looks at
    if faults or not needed.issubset(given):
        return False
    ask = getattr(tool, "check_require_confirmation", None)
    if not (getattr(tool, "_require_confirmation", False) is True if ask is None else await ask(args, tool_context)):
        return True
    said = tool_context.tool_confirmation
    return said is not None and bool(said.confirmed)


def _site(tool: Any) -> CallSite:
    annotations = getattr(getattr(tool, "_mcp_tool", None), "annotations", None)
    # Version 2 of MCP's package spells its fields as Python does.
    says_read = any(getattr(annotations, word, None) is True for word in ("readOnlyHint", "read_only_hint"))
    read = says_read or _home(tool).startswith(_READS) or is_recorded(getattr(tool, "func", None))
    return tool_site(tool.name, FRAMEWORK, read=read)
