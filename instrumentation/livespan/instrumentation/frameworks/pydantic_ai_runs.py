"""Runs of Pydantic AI's agents as scopes (agent_runs.py): what stands in for `Agent.iter`, which `run`, `run_sync`,
`run_stream` and all others come to. The run is given the capability that records tools, so it does not matter when the
agent was made.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeAlias

from livespan.instrumentation.frameworks.agent_runs import agent_run
from livespan.instrumentation.frameworks.pydantic_ai_tools import RecordTools

__all__ = ["scoped_iter"]

_Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]
_SAME: Final = ("~AbstractAgent.run.", "~AgentRunEvents.")
"""Tasks in which `run_sync` and `run_stream_events` begin a run."""


def scoped_iter(original: _Opening) -> _Opening:
    """Return `iter`, in a scope."""

    @asynccontextmanager
    async def opened(self: Any, *args: Any, capabilities: Any = None, **kwargs: Any) -> AsyncGenerator[Any]:
        given = [*(capabilities or ()), RecordTools()]
        with agent_run(str(self.name or "agent"), _SAME):
            async with original(self, *args, capabilities=given, **kwargs) as run:
                yield run

    return functools.wraps(original)(opened)
