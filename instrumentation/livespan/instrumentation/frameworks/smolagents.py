"""smolagents 1.24 to 1.x: which of its functions are replaced. What stands in their place:

    smolagents_agents.py   runs of agents as scopes, managed agents among them; which call of an answer is made where
    smolagents_models.py   model calls, whole and streamed
    smolagents_tools.py    tool calls, by an agent that names them and by one that writes code

Everything lies below what users call: agents, models and tools stay as they are. Code that a model has written runs in
every life; the tools that it calls are answered from the record. So what such code does by itself (the time, chance, a
file) is not recorded, and with an executor that is not local (docker, e2b, modal, blaxel) neither are its tools.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["SmolagentsInstrumentor"]

_hooks: Final = Hooks()


class SmolagentsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks smolagents; also by OpenTelemetry's auto-instrumentation, as `livespan_smolagents`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("smolagents >= 1.24, < 2",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        from livespan.instrumentation.frameworks import smolagents_agents as scopes
        from livespan.instrumentation.frameworks import smolagents_models as models
        from livespan.instrumentation.frameworks import smolagents_tools as tools

        upstream_agents: Any = import_module("smolagents.agents")
        upstream_models: Any = import_module("smolagents.models")
        upstream_tools: Any = import_module("smolagents.tools")
        tools.hold_types()
        try:
            for name, recording in (
                ("generate", models.recording_generate),
                ("generate_stream", models.recording_generate_stream),
            ):
                _hooks.replace_in_all(upstream_models.Model, name, recording)
            _hooks.replace(upstream_models, "get_tool_call_from_text", models.naming_tool_call)
            _hooks.replace_in_all(upstream_tools.Tool, "__call__", tools.recording_call)
            _hooks.replace_in_all(upstream_agents.MultiStepAgent, "run", scopes.scoped_run)
            _hooks.replace(upstream_agents.ToolCallingAgent, "process_tool_calls", scopes.knowing_ids)
            _hooks.replace(upstream_agents.ToolCallingAgent, "execute_tool_call", scopes.telling_id)
            # The module has bound this name; replacing it where it is defined would change nothing.
            _hooks.replace(upstream_agents, "as_completed", scopes.in_order)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
