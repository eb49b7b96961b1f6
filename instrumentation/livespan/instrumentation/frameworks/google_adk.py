"""Google ADK 2.x: which of its functions are replaced. What stands in their place:

    adk_scopes.py     runners, agents and workflow nodes as scopes; a Stop that was lost or wrapped comes as itself
    adk_models.py     model calls, wherever they are made from
    adk_prompts.py    what of a model call identifies it, and how its answer is recorded
    adk_tools.py      tool calls

Models and tools are hooked in their public base classes, since a plugin of ADK's can neither hand a tool its
idempotency key nor see what another plugin answers. Not seen: live (audio) sessions, remote agents, what tools of
Google's own do on the server's side.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["GoogleAdkInstrumentor"]

_hooks: Final = Hooks()


class GoogleAdkInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks Google ADK; also by OpenTelemetry's auto-instrumentation, as `livespan_google_adk`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported. Older ones want a starlette that the collector cannot share."""
        return ("google-adk >= 2.2, < 3",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        base_llm: Any = import_module("google.adk.models.base_llm")
        base_tool: Any = import_module("google.adk.tools.base_tool")
        base_agent: Any = import_module("google.adk.agents.base_agent")
        base_node: Any = import_module("google.adk.workflow._base_node")
        runners: Any = import_module("google.adk.runners")

        from livespan.instrumentation.frameworks import adk_models as models
        from livespan.instrumentation.frameworks import adk_scopes as scopes
        from livespan.instrumentation.frameworks import adk_tools as tools

        try:
            _hooks.replace_in_all(base_llm.BaseLlm, "generate_content_async", models.recording_generate)
            _hooks.replace_in_all(base_tool.BaseTool, "run_async", tools.recording_run)
            _hooks.replace(base_agent.BaseAgent, "run_async", scopes.scoped_agent)
            _hooks.replace(base_node.BaseNode, "run", scopes.scoped_node)
            _hooks.replace(runners.Runner, "run_async", scopes.scoped_runner)
            _hooks.replace(runners.Runner, "run", scopes.stopping_run)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
