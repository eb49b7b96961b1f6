"""Runs of agents, in frameworks that go on in tasks of their own with what a run does.

    run of triage                       /triage.0            the first run of that agent, in the scope of its caller
      its model and tool calls          /triage.0            whatever task of the framework's makes them
      handed to billing                 /triage.0/billing.0
    anything else that goes on in it    /triage.0/~...       in the branch in which it is made

The framework's tasks are branches of the run's scope and name nothing that a user would know. A run asks its model one
thing at a time, and the ids that an answer gave its calls tell these apart: so both belong to the run itself.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from livespan.instrumentation.branches import entered
from livespan.instrumentation.core import Scope
from livespan.instrumentation.frameworks import calling
from livespan.instrumentation.run_block import active
from livespan.instrumentation.session import Session

__all__ = ["CURRENT_RUN", "AgentRun", "agent_run", "calling_scope"]


class AgentRun:
    """One run: its scope, and that of the agent whose turn it is. All tasks of the run share it.

    Args:
        name: of the agent that begins.
        same: how the names of branches begin in which the framework begins a run.
    """

    def __init__(self, name: str, same: tuple[str, ...] = ()) -> None:
        self._session, around = calling.calling_scope(same)
        self.scope = self.agent = self._session.enter(around, name)

    def hand_to(self, name: str) -> None:
        """Go on in the scope of another agent."""
        if self.agent is not self.scope:
            self._session.leave(self.agent, None)
        self.agent = self._session.enter(self.scope, name)

    def leave(self, error: BaseException | None) -> None:
        """End the run, and its agent's scope before it."""
        if self.agent is not self.scope:
            self._session.leave(self.agent, error)
        self._session.leave(self.scope, error)


CURRENT_RUN: Final[ContextVar[AgentRun | None]] = ContextVar("livespan_agent_run", default=None)


@contextmanager
def agent_run(name: str, same: tuple[str, ...] = ()) -> Generator[AgentRun]:
    """Be in a run of an agent for as long as the block runs; the arguments are AgentRun's."""
    run = AgentRun(name, same)
    token = CURRENT_RUN.set(run)
    try:
        with entered(run.scope):
            yield run
    except BaseException as error:
        run.leave(error)
        raise
    finally:
        CURRENT_RUN.reset(token)
    run.leave(None)


def calling_scope(call_id: str | None = None) -> tuple[Session, Scope]:
    """Return the session, and the scope that a call of the running code belongs to.

    Args:
        call_id: of a tool call, the id under which a model asked for it; None: a model call.
    """
    session, scope = active()
    run = CURRENT_RUN.get()
    if run is None or (call_id is not None and call_id not in scope.claims.known):
        return session, scope
    around: Scope | None = scope
    while around is not None and around is not run.scope:
        around = around.parent if around.path.rpartition("/")[2].startswith("~") else None
    return session, scope if around is None else run.agent
