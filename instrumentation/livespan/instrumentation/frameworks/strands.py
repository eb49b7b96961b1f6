"""Strands 1.x: which of its functions are replaced. What stands in their place:

    strands_scopes.py         agents, graphs, their nodes and swarms as scopes; a lost Stop is raised at their end
    strands_models.py         model calls, wherever they are made from
    strands_prompts.py        what of a model call identifies it, and how its answer is recorded
    strands_tools.py          tool calls, below all middleware of the user's
    strands_agent_tools.py    agents as tools: one that was busy was busy in every life

Not seen: bidirectional (speech) models, agents behind A2A, what a tool writes into the agent's state.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["StrandsInstrumentor"]

_hooks: Final = Hooks()


class StrandsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks Strands; also by OpenTelemetry's auto-instrumentation, as `livespan_strands`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("strands-agents >= 1.50, < 2",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        agent: Any = import_module("strands.agent.agent")
        agent_tool: Any = import_module("strands.agent._agent_as_tool")
        graph: Any = import_module("strands.multiagent.graph")
        swarm: Any = import_module("strands.multiagent.swarm")
        model: Any = import_module("strands.models.model")

        from livespan.instrumentation.frameworks import strands_agent_tools as agent_tools
        from livespan.instrumentation.frameworks import strands_models as models
        from livespan.instrumentation.frameworks import strands_scopes as scopes
        from livespan.instrumentation.frameworks import strands_tools as tools

        try:
            _hooks.replace_in_all(model.Model, "stream", models.recording_stream)
            _hooks.replace_in_all(model.Model, "structured_output", models.recording_structured_output)
            # The agent's own name for it: the module that defines it has been renamed since 1.50.
            _hooks.replace(agent.MiddlewareRegistry, "compose", tools.recording_compose)
            _hooks.replace(agent.Agent, "stream_async", scopes.scoped_agent)
            _hooks.replace(agent_tool._AgentAsTool, "stream", agent_tools.settled_stream)  # noqa: SLF001 - no other door
            _hooks.replace(graph.Graph, "stream_async", scopes.scoped_graph)
            _hooks.replace(graph.Graph, "_execute_node", scopes.scoped_node)
            _hooks.replace(swarm.Swarm, "stream_async", scopes.scoped_swarm)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
