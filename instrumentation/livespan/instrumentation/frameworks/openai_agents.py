"""OpenAI Agents SDK: which of its functions are replaced. What stands in their place:

    openai_agents_scopes.py    a run of an agent as a scope, and in it what comes after a hand-off
    openai_agents_models.py    model calls, whole and streamed
    openai_agents_prompts.py   what of a model call identifies it, and what its answer says of itself
    openai_agents_tools.py     calls of function tools, those of MCP servers among them

Agents, tools and models stay as they are. Not seen: tools that the provider runs, the SDK's shell, computer, patch and
custom tools, realtime sessions, and what a session or a guardrail does by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["OpenAIAgentsInstrumentor"]

_hooks: Final = Hooks()


class OpenAIAgentsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks the OpenAI Agents SDK; also by OpenTelemetry's auto-instrumentation, as `livespan_openai_agents`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("openai-agents >= 0.20, < 0.25",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        from agents import Runner
        from agents.models.interface import Model
        from agents.run_internal import tool_execution, turn_resolution

        from livespan.instrumentation.frameworks import openai_agents_models as models
        from livespan.instrumentation.frameworks import openai_agents_scopes as scopes
        from livespan.instrumentation.frameworks import openai_agents_tools as tools

        try:
            _hooks.replace_in_all(Model, "get_response", models.recording_get_response)
            _hooks.replace_in_all(Model, "stream_response", models.recording_stream_response)
            _hooks.replace(Runner, "run", scopes.scoped_run)
            _hooks.replace(Runner, "run_sync", scopes.scoped_run_sync)
            _hooks.replace(Runner, "run_streamed", scopes.scoped_run_streamed)
            # The two modules' own names: the runner has bound the one, and looks the other up as it goes.
            _hooks.replace(tool_execution, "_invoke_function_tool_with_metadata", tools.recording_invoke)
            _hooks.replace(turn_resolution, "execute_handoffs", scopes.scoped_handoffs)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
