"""crewAI from 1.15.30 to 1.x: which of its functions are replaced. What stands in their place:

    crewai_scopes.py   crews, tasks, agents, delegation and the methods of flows as scopes
    crewai_models.py   model calls: `BaseLLM.call` and `acall` of every model
    crewai_prompts.py  what of a model call identifies it, and how its answer is recorded
    crewai_tools.py    tool calls, and what the cache of a crew holds of earlier ones

Everything lies below what users call: crews, agents, flows and tools stay as they are. Structured answers that crewAI
asks for by `instructor` do not come here, nor does what a person is asked. Its memory is on unless a crew says
otherwise, and outlives the process: what it recalls in a later life is a part of the prompts, and none that we record.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not re-exported

from livespan.instrumentation.frameworks.hooks import Hooks

__all__ = ["CrewAIInstrumentor"]

_hooks: Final = Hooks()


class CrewAIInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # to mypy the package is untyped
    """Hooks crewAI; also by OpenTelemetry's auto-instrumentation, as `livespan_crewai`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions that are supported."""
        return ("crewai >= 1.15.30, < 2",)

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        try:
            _replace_scopes()
            _replace_models()
            _replace_tools()
        except BaseException:
            _hooks.take_out()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        _hooks.take_out()


# Each imports crewAI in its body, so that this module can be imported where it is not installed.
def _replace_scopes() -> None:
    from livespan.instrumentation.frameworks import crewai_scopes as scopes

    crew: Any = import_module("crewai.crew").Crew
    task: Any = import_module("crewai.task").Task
    flow: Any = import_module("crewai.flow.runtime").Flow
    lite_agent: Any = import_module("crewai.lite_agent").LiteAgent
    _hooks.replace(crew, "kickoff", scopes.scoped_kickoff)
    _hooks.replace(crew, "akickoff", scopes.scoped_akickoff)
    _hooks.replace(task, "_execute_core", scopes.scoped_task)
    _hooks.replace(task, "_aexecute_core", scopes.scoped_atask)
    _hooks.replace(task, "_execute_task_async", scopes.stopping_thread)
    _hooks.replace(lite_agent, "_execute_core", scopes.scoped_lite_agent)
    _hooks.replace(flow, "kickoff_async", scopes.scoped_flow)
    _hooks.replace(flow, "resume_async", scopes.scoped_flow)
    _hooks.replace(flow, "_execute_method", scopes.scoped_method)
    # These modules have bound the name; replacing it where it is defined would change nothing.
    _hooks.replace(import_module("crewai.crew"), "create_chunk_generator", scopes.stopping_stream)
    _hooks.replace(import_module("crewai.flow.runtime"), "create_frame_generator", scopes.stopping_stream)
    _hooks.replace(import_module("crewai.llms.base_llm"), "create_frame_generator", scopes.stopping_stream)


def _replace_models() -> None:
    from livespan.instrumentation.frameworks import crewai_models as models

    base: Any = import_module("crewai.llms.base_llm").BaseLLM
    import_module("crewai.llm")  # so that its class is among the subclasses
    _hooks.replace_in_all(base, "call", models.recording_call)
    _hooks.replace_in_all(base, "acall", models.recording_acall)
    _hooks.replace_in_all(base, "_track_token_usage_internal", models.counting_tokens)
    _hooks.replace(base, "_emit_stream_chunk_event", models.holding_chunk)


def _replace_tools() -> None:
    from livespan.instrumentation.frameworks import crewai_tools as tools

    base: Any = import_module("crewai.tools.base_tool").BaseTool
    structured: Any = import_module("crewai.tools.structured_tool").CrewStructuredTool
    cache: Any = import_module("crewai.agents.cache.cache_handler").CacheHandler
    executor: Any = import_module("crewai.agents.agent_executor").AgentExecutor
    _hooks.replace_in_all(base, "run", tools.recording_run)
    _hooks.replace_in_all(base, "arun", tools.recording_arun)
    _hooks.replace(structured, "invoke", tools.recording_invoke)
    _hooks.replace(structured, "ainvoke", tools.recording_ainvoke)
    _hooks.replace(cache, "read", tools.recording_read)
    _hooks.replace(executor, "_execute_single_native_tool_call", tools.telling_id)
    # The module has bound this name; replacing it where it is defined would change nothing.
    _hooks.replace(import_module("crewai.agents.step_executor"), "execute_single_native_tool_call", tools.telling_id_of)
