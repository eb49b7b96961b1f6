"""Tools of MCP servers: `ClientSession.call_tool` and `list_tools` are replaced, by what stands in mcp_tools.py.

Every client of the package calls tools through this one, whatever the transport is. Sampling, elicitation, resources,
prompts and tasks (`session.experimental`) pass.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["MCPInstrumentor"]

_hooks: Final = Hooks()


class MCPInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks MCP's client; also by OpenTelemetry's auto-instrumentation, as `livespan_mcp`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("mcp >= 1.26, < 3",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the package is not installed.
        from mcp import ClientSession

        from livespan.instrumentation.frameworks import mcp_tools as tools

        try:
            _hooks.replace(ClientSession, "call_tool", tools.recording_call)
            _hooks.replace(ClientSession, "list_tools", tools.noting_list)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
