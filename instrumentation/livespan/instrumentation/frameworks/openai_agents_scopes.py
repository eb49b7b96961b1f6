"""Runs of agents as scopes, and in them the agents that a run is handed to.

    Runner.run(triage, ...)             /triage.0             the first run of that agent, in the scope of its caller
      model and tools of triage         /triage.0
      handed to billing                 /triage.0/billing.0
    billing as a tool of triage         /triage.0/billing[call_7f].0/billing.0

The runner goes on in tasks of its own, which are branches of the run's scope and name nothing that a user would know.
A model call and a tool call that the model asked for belong to the agent, whatever task makes them, and ids tell apart
what is made beside each other; everything else (a guardrail's own run) belongs to the branch in which it is made.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from livespan.instrumentation.branches import entered
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks.calling import calling_scope as calling
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import Session
from livespan.proto.errors import Stop

__all__ = ["calling_scope", "scoped_handoffs", "scoped_run", "scoped_run_streamed", "scoped_run_sync"]

_Function: TypeAlias = Callable[..., Any]


class _Run:
    """One run of the runner: its scope, and that of the agent whose turn it is. All tasks of the run share it."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self.session = session
        self.scope = scope
        self.agent = scope

    def hand_to(self, name: str) -> None:
        """Go on in the scope of another agent."""
        if self.agent is not self.scope:
            self.session.leave(self.agent, None)
        self.agent = self.session.enter(self.scope, name)

    def leave(self, error: BaseException | None) -> None:
        """End the run; its agent's scope first."""
        if self.agent is not self.scope:
            self.session.leave(self.agent, error)
        self.session.leave(self.scope, error)


_RUN: Final[ContextVar[_Run | None]] = ContextVar("livespan_openai_agents_run", default=None)


def calling_scope(call_id: str | None = None) -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        call_id: of a tool call, the id under which a model asked for it; None: a model call, which a run makes one at
            a time.
    """
    session, scope = active()
    run = _RUN.get()
    if run is None or (call_id is not None and call_id not in scope.claims.known):
        return session, scope
    around: Scope | None = scope
    while around is not None and around is not run.scope:
        around = around.parent if around.path.rpartition("/")[2].startswith("~") else None
    return session, scope if around is None else run.agent


def scoped_run(original: Any) -> Any:
    """Return `Runner.run`, a class method, in a scope."""
    function: _Function = original.__func__

    @functools.wraps(function)
    async def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with _entered_run(args, kwargs):
            return await function(cls, *args, **kwargs)

    return classmethod(run)


def scoped_run_sync(original: Any) -> Any:
    """Return `Runner.run_sync`, in a scope."""
    function: _Function = original.__func__

    @functools.wraps(function)
    def run_sync(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with _entered_run(args, kwargs):
            return function(cls, *args, **kwargs)

    return classmethod(run_sync)


def scoped_run_streamed(original: Any) -> Any:
    """Return `Runner.run_streamed`, in a scope that ends with the task that it starts."""
    function: _Function = original.__func__

    @functools.wraps(function)
    def run_streamed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        run = _begin(args, kwargs)
        token = _RUN.set(run)
        try:
            with entered(run.scope):
                result = function(cls, *args, **kwargs)
        except BaseException as error:
            run.leave(error)
            raise
        finally:
            _RUN.reset(token)
        result.run_loop_task.add_done_callback(functools.partial(_stream_ended, run))
        return result

    return classmethod(run_streamed)


def scoped_handoffs(original: _Function) -> _Function:
    """Return `execute_handoffs`, after which the run goes on in the scope of the agent that it was handed to."""

    @functools.wraps(original)
    async def execute_handoffs(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        run = _RUN.get()
        agent = getattr(result.next_step, "new_agent", None)
        if run is not None and agent is not None:
            run.hand_to(str(agent.name))
        return result

    return execute_handoffs


def _begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Run:
    agent = args[0] if args else kwargs.get("starting_agent")
    session, around = calling()
    return _Run(session, session.enter(around, str(getattr(agent, "name", "agent"))))


@contextmanager
def _entered_run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[None]:
    run = _begin(args, kwargs)
    token = _RUN.set(run)
    try:
        with entered(run.scope):
            yield
    except BaseException as error:
        run.leave(error)
        raise
    finally:
        _RUN.reset(token)
    run.leave(None)


def _stream_ended(run: _Run, task: asyncio.Future[Any]) -> None:
    error = asyncio.CancelledError() if task.cancelled() else getattr(task, "_exception", None)
    # A Stop is sticky and comes up where the run goes on; here nobody could take it.
    with suppress(Stop):
        run.leave(error)
