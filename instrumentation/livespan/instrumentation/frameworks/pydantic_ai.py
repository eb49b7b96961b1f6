"""Pydantic AI: which of its functions are replaced. What stands in their place:

    pydantic_ai_models.py     model calls, whole and streamed
    pydantic_ai_prompts.py    what of a model call identifies it, and what its answer says of itself
    pydantic_ai_runs.py       a run of an agent as a scope, and given a capability for as long as it lasts
    pydantic_ai_tools.py      that capability: tool calls, and output functions

Agents may have been made before. Not seen: tools that the provider runs, realtime sessions, embeddings, and agents of
somebody else's that have an `iter` of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["PydanticAIInstrumentor"]

_hooks: Final = Hooks()


class PydanticAIInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks Pydantic AI; also by OpenTelemetry's auto-instrumentation, as `livespan_pydantic_ai`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("pydantic-ai-slim >= 2.40, < 3",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        from pydantic_ai import Agent
        from pydantic_ai.models import Model

        from livespan.instrumentation.frameworks import pydantic_ai_models as models
        from livespan.instrumentation.frameworks import pydantic_ai_runs as runs

        try:
            _hooks.replace_in_all(Model, "request", models.recording_request)
            _hooks.replace_in_all(Model, "request_stream", models.recording_request_stream)
            _hooks.replace(Agent, "iter", runs.scoped_iter)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
