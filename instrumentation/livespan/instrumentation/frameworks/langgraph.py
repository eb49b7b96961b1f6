"""LangGraph 1.2 and LangChain 1.x: which of their functions are replaced. What stands in their place:

    langgraph_scopes.py    graphs and their tasks as scopes, so that parallel nodes are told apart
    langchain_models.py    model calls
    langchain_streams.py   model calls that are streamed
    langchain_tools.py     tool calls
    langchain_prompts.py   what of a model call identifies it, and how its answer is recorded
    langchain_answers.py   answers from the record, told to callbacks

Everything lies below what users call: agents, graphs and tools stay as they are. A model or tool class of somebody
else's that overrides one of these functions escapes; a model's `stream_events(version="v3")` does too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks
from livespan.proto.codec import identify_without

__all__ = ["LangGraphInstrumentor"]

_hooks: Final = Hooks()


class LangGraphInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks LangGraph and LangChain; also by OpenTelemetry's auto-instrumentation, as `livespan_langgraph`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("langgraph >= 1.2, < 2", "langchain-core >= 1.4, < 2")

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        # Here, so that this module can be imported where the framework is not installed.
        from langchain_core.language_models.chat_models import BaseChatModel
        from langchain_core.messages.base import BaseMessage, TextAccessor
        from langchain_core.tools import BaseTool
        from langgraph.pregel import Pregel, _runner  # pyright: ignore[reportMissingTypeStubs]  # no py.typed in the folder
        from langgraph.types import Send

        from livespan.instrumentation.frameworks import langchain_models as models
        from livespan.instrumentation.frameworks import langchain_streams as streams
        from livespan.instrumentation.frameworks import langchain_tools as tools
        from livespan.instrumentation.frameworks import langgraph_scopes as scopes

        tools.hold_types(Send, TextAccessor)
        # `add_messages` gives each message that has none an id, another one in every life.
        identify_without(BaseMessage, "id")
        try:
            _hooks.replace(BaseChatModel, "_generate_with_cache", models.recording_generate)
            _hooks.replace(BaseChatModel, "_agenerate_with_cache", models.recording_agenerate)
            _hooks.replace(BaseChatModel, "agenerate", models.stopping_agenerate)
            _hooks.replace(BaseChatModel, "stream", streams.recording_stream)
            _hooks.replace(BaseChatModel, "astream", streams.recording_astream)
            _hooks.replace(BaseTool, "run", tools.recording_run)
            _hooks.replace(BaseTool, "arun", tools.recording_arun)
            _hooks.replace(Pregel, "stream", scopes.scoped_stream)
            _hooks.replace(Pregel, "astream", scopes.scoped_astream)
            # The runner has bound these names; replacing them where they are defined would change nothing.
            _hooks.replace(_runner, "run_with_retry", scopes.scoped_task)
            _hooks.replace(_runner, "arun_with_retry", scopes.scoped_atask)
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()
