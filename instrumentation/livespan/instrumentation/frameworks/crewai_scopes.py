"""Crews, tasks, agents and the methods of flows as scopes, named by what a later life has again.

    crew.kickoff()           /shop.0                              a crew; "crew" where it has no name
      task "pay"             /shop.0/pay.0                        "task" where it has no name
        its agent            /shop.0/pay.0/Cashier.0              each run of an agent, by its role
          delegation         .../Cashier.0/Ask question to coworker.0/Researcher.0
    flow.kickoff()           /OrderFlow.0
      method "charge"        /OrderFlow.0/charge.0                wherever it was triggered from

crewAI runs agents as flows of its own, each method of which runs in a thread, started from a task that its predecessor
has started. Which task that is depends on who ended first. So the scope of a flow travels in a context variable, and
that of a method lies in it, whatever thread or task it runs in.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

from livespan.instrumentation.branches import entered
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.session import Session
from livespan.proto.errors import Stop

__all__ = [
    "CALL_ID",
    "FRAMEWORK",
    "calling_scope",
    "scoped",
    "scoped_akickoff",
    "scoped_atask",
    "scoped_flow",
    "scoped_kickoff",
    "scoped_lite_agent",
    "scoped_method",
    "scoped_task",
    "stopping_stream",
    "stopping_thread",
]

_Function: TypeAlias = Callable[..., Any]

FRAMEWORK: Final = "crewai"
_STEP: Final = "crewai.step"
"""What the thread is called, as a branch, in which a method of a flow runs."""
_SAME: Final = (f"~{_STEP}.", "~Flow.kickoff.<locals>._run_flow.")
_BESIDE: Final = ("~AgentExecutor._execute_single_native_tool_call.",)
"""Threads in which the calls of one answer are made beside each other."""
CALL_ID: Final[ContextVar[str]] = ContextVar("livespan_crewai_call_id", default="")
"""Id of the call that is being made; the tool that it reaches takes it, so that what that one calls has none."""


class _Running(NamedTuple):
    """A flow that runs, its session and its scope."""

    flow: Any
    session: Session
    scope: Scope


_FLOW: Final[ContextVar[_Running | None]] = ContextVar("livespan_crewai_flow", default=None)


def calling_scope(call_id: str = "") -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to."""
    return calling.calling_scope(_SAME, _BESIDE, call_id)


def scoped(name: str) -> Any:
    """Enter a scope for as long as the block runs."""
    return calling.scoped(name, _SAME)


def scoped_kickoff(original: _Function) -> _Function:
    """Return `Crew.kickoff`, in a scope of the crew's name."""

    @functools.wraps(original)
    def kickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.stream:
            return original(self, *args, **kwargs)  # it comes here again, in a thread of its own
        with scoped(self.name or "crew"):
            return original(self, *args, **kwargs)

    return kickoff


def scoped_akickoff(original: _Function) -> _Function:
    """Return `Crew.akickoff`, in a scope of the crew's name."""

    @functools.wraps(original)
    async def akickoff(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.stream:
            return await original(self, *args, **kwargs)
        with scoped(self.name or "crew"):
            return await original(self, *args, **kwargs)

    return akickoff


def scoped_task(original: _Function) -> _Function:
    """Return `Task._execute_core`, in a scope of the task's name."""

    @functools.wraps(original)
    def _execute_core(self: Any, *args: Any, **kwargs: Any) -> Any:
        with scoped(self.name or "task"):
            return original(self, *args, **kwargs)

    return _execute_core


def scoped_atask(original: _Function) -> _Function:
    """Return `Task._aexecute_core`, in a scope of the task's name."""

    @functools.wraps(original)
    async def _aexecute_core(self: Any, *args: Any, **kwargs: Any) -> Any:
        with scoped(self.name or "task"):
            return await original(self, *args, **kwargs)

    return _aexecute_core


def stopping_thread(original: _Function) -> _Function:
    """Return `Task._execute_task_async`, which tells its future of every end.

    The original keeps what is no Exception, a Stop among them, and the crew would wait for ever.
    """

    @functools.wraps(original)
    def _execute_task_async(self: Any, agent: Any, context: Any, tools: Any, future: Any) -> None:
        try:
            original(self, agent, context, tools, future)
        except BaseException as error:  # noqa: BLE001 - the crew, which waits for the future, raises it
            future.set_exception(error)

    return _execute_task_async


def stopping_stream(original: _Function) -> _Function:
    """Return what makes a stream of what a thread does, at the end of which a Stop of that thread is raised.

    The original takes what is no Exception for a good end.
    """

    @functools.wraps(original)
    def create_generator(state: Any, run_func: _Function, output_holder: Any) -> Iterator[Any]:
        stops: list[Stop] = []

        @functools.wraps(run_func)
        def run() -> Any:
            try:
                return run_func()
            except Stop as stop:
                stops.append(stop)
                return None

        yield from original(state, run, output_holder)
        if stops:
            raise stops[0].with_traceback(None)

    return create_generator


def scoped_lite_agent(original: _Function) -> _Function:
    """Return `LiteAgent._execute_core`, in a scope of the agent's role."""

    @functools.wraps(original)
    def _execute_core(self: Any, *args: Any, **kwargs: Any) -> Any:
        with scoped(self.role):
            return original(self, *args, **kwargs)

    return _execute_core


def scoped_flow(original: _Function) -> _Function:
    """Return `Flow.kickoff_async`, which every way to run a flow comes to, or `resume_async`, with a scope to lie in.

    The scope is not entered here: what the flow starts would be its branches, and could not be told from the methods.
    """

    @functools.wraps(original)
    async def kickoff_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "stream", False):
            return await original(self, *args, **kwargs)  # it comes here again, in a task of its own
        session, around = calling_scope()
        scope = session.enter(around, _name(self))
        token = _FLOW.set(_Running(self, session, scope))
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            session.leave(scope, error)
            raise
        finally:
            _FLOW.reset(token)
        session.leave(scope, None)
        return result

    return kickoff_async


def scoped_method(original: _Function) -> _Function:
    """Return `Flow._execute_method`, in the method's scope; those of an agent's own flow are all in the agent's."""

    @functools.wraps(original)
    async def _execute_method(self: Any, method_name: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
        running = _FLOW.get()
        if running is None or running.flow is not self:
            return await original(self, method_name, method, *args, **kwargs)
        session, scope = running.session, running.scope
        method = _step(method)
        if _is_agent(self):
            with entered(scope):
                return await original(self, method_name, method, *args, **kwargs)
        scope = session.enter(scope, str(method_name))
        try:
            with entered(scope):
                result = await original(self, method_name, method, *args, **kwargs)
        except BaseException as error:
            session.leave(scope, error)
            raise
        session.leave(scope, None)
        return result

    return _execute_method


def _step(method: _Function) -> _Function:
    """Return a synchronous method under a name that the branch of its thread can be known by."""
    if inspect.iscoroutinefunction(method):
        return method

    def step(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    step.__qualname__ = _STEP
    return step


def _is_agent(flow: Any) -> bool:
    return isinstance(flow, import_module("crewai.agents.agent_executor").AgentExecutor)


def _name(flow: Any) -> str:
    if _is_agent(flow):
        return str(getattr(flow.agent, "role", None) or "agent")
    return str(getattr(flow, "name", None) or type(flow).__name__)
