"""Runners and agents of ADK as scopes, by their names. None of them is answered, only what they call.

runner.run_async(...)      /shop.0                     the first run of an app of that name
  its agent                /shop.0/clerk.0
    one it transfers to    /shop.0/clerk.0/packer.0
    AgentTool              /shop.0/clerk.0/~.../clerk.0/helper.0, a runner of its own
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any, Final, TypeAlias

from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.frameworks.calling import scoped_parts
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import Session

__all__ = ["calling_scope", "scoped_agent", "scoped_node", "scoped_runner", "stopping_run"]

_Function: TypeAlias = Callable[..., Any]

_Agent: Any = import_module("google.adk.agents.base_agent").BaseAgent

_SAME: Final = (
    "~Context._run_node_internal.",
    "~Context._run_node_standalone.",
    "~Context.run_node.",
    "~NodeRunner.run.",
    "~Runner.",
    "~run_node_async.<locals>.",
)
"""Branches in which ADK goes on with what it was doing."""
_BESIDE: Final = (
    "~_execute_single_function_call_async.",
    "~_execute_single_prepared_call_async.",
    "~_prepare_single.",
)
"""Those in which it makes the calls of one answer beside each other."""


def calling_scope(call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        call_id: id under which a model asked for the call.
    """
    return calling.calling_scope(_SAME, _BESIDE, call_id)


def scoped_agent(original: _Function) -> _Function:
    """Return `BaseAgent.run_async`, in the agent's scope."""

    @functools.wraps(original)
    def run_async(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _scoped(self.name, lambda: original(self, *args, **kwargs))

    return run_async


def scoped_node(original: _Function) -> _Function:
    """Return `BaseNode.run`, in the node's scope; an agent has its own."""

    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, _Agent):
            return original(self, *args, **kwargs)
        return _scoped(self.name, lambda: original(self, *args, **kwargs))

    return run


def scoped_runner(original: _Function) -> _Function:
    """Return `Runner.run_async`, in the app's scope."""

    @functools.wraps(original)
    def run_async(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return _scoped(self.app_name, lambda: original(self, *args, **kwargs))

    return run_async


def stopping_run(original: _Function) -> _Function:
    """Return `Runner.run`, out of which a Stop comes as itself: the original makes a RuntimeError of it, or, in older
    versions, leaves it in its thread.
    """

    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        session, _ = active()
        try:
            yield from original(self, *args, **kwargs)
        except RuntimeError as error:
            if session.core.stopped is not None:
                raise session.core.stopped.with_traceback(None) from error
            raise
        if session.core.stopped is not None:
            raise session.core.stopped.with_traceback(None)

    return run


def _scoped(name: str, start: Callable[[], Any]) -> AsyncIterator[Any]:
    session, around = calling_scope()
    return scoped_parts(session, session.enter(around, str(name)), start)
