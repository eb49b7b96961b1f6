"""Runs of the OpenAI Agents SDK as scopes (agent_runs.py): what stands in for `Runner.run`, `run_sync`, `run_streamed`
and for what carries a hand-off out.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from livespan.instrumentation.branches import entered
from livespan.instrumentation.frameworks.agent_runs import CURRENT_RUN, AgentRun, agent_run
from livespan.proto.errors import Stop

__all__ = ["scoped_handoffs", "scoped_run", "scoped_run_streamed", "scoped_run_sync"]

_Function: TypeAlias = Callable[..., Any]


def scoped_run(original: Any) -> Any:
    """Return `Runner.run`, a class method, in a scope."""
    function: _Function = original.__func__

    @functools.wraps(function)
    async def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with agent_run(_name(args, kwargs)):
            return await function(cls, *args, **kwargs)

    return classmethod(run)


def scoped_run_sync(original: Any) -> Any:
    """Return `Runner.run_sync`, in a scope."""
    function: _Function = original.__func__

    @functools.wraps(function)
    def run_sync(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with agent_run(_name(args, kwargs)):
            return function(cls, *args, **kwargs)

    return classmethod(run_sync)


def scoped_run_streamed(original: Any) -> Any:
    """Return `Runner.run_streamed`, in a scope that ends with the task that it starts."""
    function: _Function = original.__func__

    @functools.wraps(function)
    def run_streamed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        run = AgentRun(_name(args, kwargs))
        token = CURRENT_RUN.set(run)
        try:
            with entered(run.scope):
                result = function(cls, *args, **kwargs)
        except BaseException as error:
            run.leave(error)
            raise
        finally:
            CURRENT_RUN.reset(token)
        result.run_loop_task.add_done_callback(functools.partial(_stream_ended, run))
        return result

    return classmethod(run_streamed)


def scoped_handoffs(original: _Function) -> _Function:
    """Return `execute_handoffs`, after which the run goes on in the scope of the agent that it was handed to."""

    @functools.wraps(original)
    async def execute_handoffs(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        run = CURRENT_RUN.get()
        agent = getattr(result.next_step, "new_agent", None)
        if run is not None and agent is not None:
            run.hand_to(str(agent.name))
        return result

    return execute_handoffs


def _name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    agent = args[0] if args else kwargs.get("starting_agent")
    return str(getattr(agent, "name", "agent"))


def _stream_ended(run: AgentRun, task: asyncio.Future[Any]) -> None:
    error = asyncio.CancelledError() if task.cancelled() else getattr(task, "_exception", None)
    # A Stop is sticky and comes up where the run goes on; here nobody could take it.
    with suppress(Stop):
        run.leave(error)
